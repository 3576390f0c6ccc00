package leak_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/admit"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
	"github.com/meshfence/meshfence/policy/suite"
	"github.com/meshfence/meshfence/test/fixtures"
)

var update = flag.Bool("update", false, "rewrite the findings in testdata")

func TestFixtures(t *testing.T) {
	t.Parallel()
	guard := leak.NewGuard(leak.Rules())
	var lock sync.Mutex
	found := map[string][]leak.Finding{}
	if *update {
		t.Cleanup(func() { rewrite(t, found) })
	}
	for _, c := range load(t) {
		t.Run(nameOf(c), func(t *testing.T) {
			t.Parallel()
			after := testFixture(t, guard, c)
			lock.Lock()
			defer lock.Unlock()
			found[place(c)] = after
		})
	}
}

// testFixture judges the object of a case before and after mutation, and returns what is found after it.
func testFixture(t *testing.T, guard *leak.Guard, c suite.Case) []leak.Finding {
	t.Helper()
	index, err := c.Index()
	if err != nil {
		t.Fatal(err)
	}
	before := judge(t, guard, index, c, c.Object.JSON)
	after := judge(t, guard, index, c, mutate(t, c, index))
	switch c.Expect.Outcome {
	case suite.Denied, suite.Warned:
		demand(t, c.Suite(), after)
		compare(t, c, expectation(after))
		return after
	case suite.Fixed:
		demand(t, c.Suite(), before)
		refuseNone(t, "after mutation", after)
		if len(c.Expect.Fixed) == 0 {
			return nil
		}
		compare(t, c, suite.Expectation{Outcome: suite.Fixed, Fixed: describe(before)})
		return before
	case suite.Passes:
		refuseNone(t, "before mutation", before)
		refuseNone(t, "after mutation", after)
	}
	return nil
}

// mutate returns the object of a case as admission stores it.
func mutate(t *testing.T, c suite.Case, index *policy.Index) []byte {
	t.Helper()
	if c.Deleted() {
		return c.Object.JSON
	}
	edits, err := admit.Mutate(admit.Request{Kind: c.Object.Kind, Namespace: c.Object.Namespace, Raw: c.Object.JSON}, index.View())
	if err != nil {
		t.Fatal(err)
	}
	mutated, err := fixtures.Apply(c.Object.JSON, edits)
	if err != nil {
		t.Fatal(err)
	}
	return mutated
}

// compare demands the very findings that a case names.
func compare(t *testing.T, c suite.Case, got suite.Expectation) {
	t.Helper()
	if diff := cmp.Diff(c.Expect, got); diff != "" && !*update {
		t.Errorf("%s: findings differ (-want +got):\n%s", place(c), diff)
	}
}

// expectation is what a case says that finds this.
func expectation(findings []leak.Finding) suite.Expectation {
	denied := slices.DeleteFunc(slices.Clone(findings), func(f leak.Finding) bool { return f.Severity == leak.Warn })
	warned := slices.DeleteFunc(slices.Clone(findings), func(f leak.Finding) bool { return f.Severity == leak.Deny })
	expect := suite.Expectation{Outcome: suite.Warned, Denied: describe(denied), Warned: describe(warned)}
	if len(denied) > 0 {
		expect.Outcome = suite.Denied
	}
	return expect
}

func nameOf(c suite.Case) string { return c.Suite() + "/" + strings.TrimSuffix(c.Title, ".") }

func place(c suite.Case) string { return fmt.Sprintf("%s:%d", c.File, c.Line) }

// judge returns what validation finds, apart from what the old object had too.
func judge(t *testing.T, guard *leak.Guard, index *policy.Index, c suite.Case, object []byte) []leak.Finding {
	t.Helper()
	w := leak.Write{Object: decode(t, c.Object.Kind, object), Deleted: c.Deleted(), Writer: c.Writer}
	w.Own = c.Writer == "system:serviceaccount:meshfence-system:meshfence"
	if c.Old != nil {
		w.Old = leak.Known(decode(t, c.Object.Kind, c.Old.JSON))
	}
	view := index.View()
	findings := guard.Judge(w, view)
	for view.AnswerPods(c.Pods()) {
		findings = guard.Judge(w, view)
	}
	return findings
}

// demand wants a finding of the rule.
func demand(t *testing.T, rule string, findings []leak.Finding) {
	t.Helper()
	if !slices.ContainsFunc(findings, func(f leak.Finding) bool { return f.Rule == rule }) {
		t.Errorf("must be found by %s, found:\n%s", rule, strings.Join(describe(findings), "\n"))
	}
}

func refuseNone(t *testing.T, when string, findings []leak.Finding) {
	t.Helper()
	if len(findings) > 0 {
		t.Errorf("%s must have no finding, found:\n%s", when, strings.Join(describe(findings), "\n"))
	}
}

func describe(findings []leak.Finding) []string {
	var list []string
	for _, f := range findings {
		list = append(list, suite.Text(f.Field(), f.Message()))
	}
	return list
}

// TestFixturesAreComplete demands that every rule has cases that it finds, be they fixed or not, and cases that
// pass, and that every file is of a rule.
func TestFixturesAreComplete(t *testing.T) {
	t.Parallel()
	ids := leak.IDs(leak.Rules())
	have := map[string]map[suite.Outcome]bool{}
	for _, c := range load(t) {
		id := c.Suite()
		if have[id] == nil {
			have[id] = map[suite.Outcome]bool{}
		}
		have[id][c.Expect.Outcome] = true
		if !slices.Contains(ids, id) {
			t.Errorf("%s: file names no rule", c.File)
		}
	}
	for _, id := range ids {
		if !have[id][suite.Denied] && !have[id][suite.Warned] && !have[id][suite.Fixed] || !have[id][suite.Passes] {
			t.Errorf("rule %s must have cases that pass, and cases that are denied, warned of or fixed", id)
		}
	}
	entries, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if filepath.Ext(e.Name()) != suite.Extension && e.Name() != "README.md" && e.Name() != "fuzz" {
			t.Errorf("%s: no case is in it", e.Name())
		}
	}
}

// TestTitlesAreSentences demands that every case says what it shows, and no two of a rule the same.
func TestTitlesAreSentences(t *testing.T) {
	t.Parallel()
	sentence := regexp.MustCompile(`^[A-Z][^ ]*( [^ ]+){2,}\.$`)
	lines := map[string]int{}
	for _, c := range load(t) {
		if !sentence.MatchString(c.Title) {
			t.Errorf("%s: title %q must be a sentence", place(c), c.Title)
		}
		if line, ok := lines[nameOf(c)]; ok && line != c.Line {
			t.Errorf("%s: the title is that of the case in line %d, too", place(c), line)
		}
		lines[nameOf(c)] = c.Line
	}
}

func load(t testing.TB) []suite.Case {
	t.Helper()
	cases, err := suite.Load(os.DirFS("testdata"))
	if err != nil {
		t.Fatal(err)
	}
	if len(cases) == 0 {
		t.Fatal("testdata must hold cases")
	}
	return cases
}

func decode(t testing.TB, kind string, data []byte) *object.Object {
	t.Helper()
	object, err := object.Decode(kind, data)
	if err != nil {
		t.Fatal(err)
	}
	return object
}

// rewrite puts what was found, by the place of the case, into the cases that name findings.
func rewrite(t *testing.T, found map[string][]leak.Finding) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "*"+suite.Extension))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		var expect []string
		for number, line := range slices.Collect(strings.Lines(string(text))) {
			switch {
			case strings.HasPrefix(line, "-- "):
				expect = expectLines(found[fmt.Sprintf("%s:%d", filepath.Base(file), number+1)])
			case expect == nil:
			case line == "# expect: fixed\n":
				expect[0] = line
				continue
			case strings.HasPrefix(line, "# expect: "), strings.HasPrefix(line, "#   "):
				continue
			case !strings.HasPrefix(line, "#"):
				out.WriteString(strings.Join(expect, ""))
				expect = nil
			}
			out.WriteString(line)
		}
		if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// expectLines returns the comments of a case that name findings.
func expectLines(findings []leak.Finding) []string {
	var lines []string
	add := func(outcome suite.Outcome, findings []string) {
		if len(findings) > 0 {
			lines = append(lines, fmt.Sprintf("# expect: %s\n", outcome))
		}
		for _, f := range findings {
			lines = append(lines, "#   "+f+"\n")
		}
	}
	expect := expectation(findings)
	add(suite.Denied, expect.Denied)
	add(suite.Warned, expect.Warned)
	return lines
}
