package leak_test

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
	"github.com/meshfence/meshfence/test/fixtures"
)

var update = flag.Bool("update", false, "rewrite the goldens in testdata")

func TestFixtures(t *testing.T) {
	t.Parallel()
	guard := leak.NewGuard(leak.Rules())
	for _, c := range load(t) {
		t.Run(strings.TrimSuffix(c.File, ".yaml"), func(t *testing.T) {
			t.Parallel()
			index, err := c.Index()
			if err != nil {
				t.Fatal(err)
			}
			object := c.Object.JSON
			before := judge(t, guard, index, c, object)
			plan := inject.Object(decode(t, c.Object.Kind, object), index.View())
			if c.Deleted {
				plan = inject.Plan{}
			}
			mutated, err := fixtures.Apply(object, plan.Edits)
			if err != nil {
				t.Fatal(err)
			}
			after := judge(t, guard, index, c, mutated)
			switch c.Outcome {
			case fixtures.Fail:
				demand(t, c.Rule, after)
				golden(t, filepath.Join("testdata", strings.TrimSuffix(c.File, ".yaml")+".txt"), describe(after))
			case fixtures.Mended:
				demand(t, c.Rule, before)
				refuseNone(t, "after mutation", after)
			case fixtures.Pass:
				refuseNone(t, "before mutation", before)
				refuseNone(t, "after mutation", after)
			}
		})
	}
}

// judge returns what validation finds, apart from what the old object had too.
func judge(t *testing.T, guard *leak.Guard, index *policy.Index, c fixtures.Case, object []byte) []leak.Finding {
	t.Helper()
	w := leak.Write{Object: decode(t, c.Object.Kind, object), Deleted: c.Deleted, Writer: c.Writer}
	w.Own = c.Writer == "system:serviceaccount:meshfence-system:meshfence"
	if c.Old != nil {
		w.Old = decode(t, c.Object.Kind, c.Old.JSON)
	}
	view := index.View()
	findings := guard.Judge(w, view)
	for c.LoadPods(view) {
		findings = guard.Judge(w, view)
	}
	return findings
}

// demand wants a finding of the rule, whose severity is that of the rule.
func demand(t *testing.T, rule string, findings []leak.Finding) {
	t.Helper()
	if !slices.ContainsFunc(findings, func(f leak.Finding) bool { return f.Rule == rule }) {
		t.Errorf("must be found by %s, found:\n%s", rule, describe(findings))
	}
}

func refuseNone(t *testing.T, when string, findings []leak.Finding) {
	t.Helper()
	if len(findings) > 0 {
		t.Errorf("%s must have no finding, found:\n%s", when, describe(findings))
	}
}

func describe(findings []leak.Finding) string {
	var b strings.Builder
	for _, f := range findings {
		fmt.Fprintf(&b, "%s\n  %s: %s\n", f.Rule, f.Field(), f.Message())
	}
	return b.String()
}

// TestFixturesAreComplete demands that every rule has cases that it finds, be they mended or not, and cases that
// pass, and that no folder and no golden is left behind.
func TestFixturesAreComplete(t *testing.T) {
	t.Parallel()
	ids := leak.IDs(leak.Rules())
	have := map[string]map[fixtures.Outcome]bool{}
	goldens := map[string]bool{}
	for _, c := range load(t) {
		if have[c.Rule] == nil {
			have[c.Rule] = map[fixtures.Outcome]bool{}
		}
		have[c.Rule][c.Outcome] = true
		if c.Outcome == fixtures.Fail {
			goldens[strings.TrimSuffix(c.File, ".yaml")+".txt"] = true
		}
		if !slices.Contains(ids, c.Rule) {
			t.Errorf("%s: folder names no rule", c.File)
		}
	}
	for _, id := range ids {
		if !have[id][fixtures.Fail] && !have[id][fixtures.Mended] || !have[id][fixtures.Pass] {
			t.Errorf("rule %s must have fixtures in pass, and in fail or mended", id)
		}
	}
	err := fs.WalkDir(os.DirFS("testdata"), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !strings.HasPrefix(path, "fuzz/") && filepath.Ext(path) != ".yaml" && !goldens[path] {
			t.Errorf("%s: no case uses it", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func load(t testing.TB) []fixtures.Case {
	t.Helper()
	cases, err := fixtures.Load(os.DirFS("testdata"))
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

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("findings differ from %s (-want +got):\n%s", file, diff)
	}
}
