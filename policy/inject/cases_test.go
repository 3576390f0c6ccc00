package inject_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
	"sigs.k8s.io/yaml"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/suite"
)

var update = flag.Bool("update", false, "rewrite what the cases in testdata expect")

// The sections of a file that are no cases.
const (
	sceneSection      = "scene"
	storedSection     = "stored"
	companionsSection = "companions"
)

// injectCase is a case with its plan, as describe has it, and the text of what is stored.
type injectCase struct {
	suite.Case

	plan   string
	stored []byte
}

// suites are the files of cases about objects that are stored.
func suites() []string {
	return []string{"stored/destinationrule", "stored/service", "stored/virtualservice"}
}

// load reads the cases by their files and titles.
func load(t *testing.T) map[string]injectCase {
	t.Helper()
	cases := map[string]injectCase{}
	for _, name := range suites() {
		archive, read := readSuite(t, name)
		for i, section := range archive.Files {
			at := slices.IndexFunc(read, func(c suite.Case) bool { return c.Title == section.Name })
			if at < 0 {
				continue
			}
			key := name + "/" + strings.TrimSuffix(section.Name, ".")
			if _, ok := cases[key]; ok {
				t.Errorf("%s: the title is there twice", key)
			}
			if i+1 == len(archive.Files) || archive.Files[i+1].Name != storedSection {
				t.Fatalf("%s: must be followed by a section %q", key, storedSection)
			}
			cases[key] = injectCase{read[at], planIn(section.Data), archive.Files[i+1].Data}
		}
	}
	return cases
}

func readSuite(t *testing.T, name string) (*txtar.Archive, []suite.Case) {
	t.Helper()
	file := filepath.Join("testdata", name+suite.Extension)
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	cases, err := suite.Parse(file, data)
	if err != nil {
		t.Fatal(err)
	}
	// A last line is there for the eye, before the title of the next case.
	archive := txtar.Parse(data)
	for i, section := range archive.Files {
		archive.Files[i].Data = []byte(strings.TrimRight(string(section.Data), "\n") + "\n")
	}
	return archive, cases
}

// planned reports whether a line of a case is one of its plan.
func planned(line string) bool {
	return slices.ContainsFunc([]string{"# add ", "# remove ", "# gap "}, func(start string) bool { return strings.HasPrefix(line, start) })
}

// planIn returns the plan that the comments of a case have.
func planIn(section []byte) string {
	var b strings.Builder
	for line := range strings.Lines(string(section)) {
		if planned(line) {
			b.WriteString(strings.TrimPrefix(line, "# "))
		}
	}
	return b.String()
}

// withPlan returns the text of a case with another plan, behind its other comments.
func withPlan(section []byte, plan string) []byte {
	var head, rest strings.Builder
	for line := range strings.Lines(string(section)) {
		switch {
		case planned(line):
		case rest.Len() == 0 && strings.HasPrefix(line, "#"):
			head.WriteString(line)
		default:
			rest.WriteString(line)
		}
	}
	for line := range strings.Lines(plan) {
		head.WriteString("# " + line)
	}
	return []byte(head.String() + rest.String())
}

// rewrite has every case expect what becomes of its object.
func rewrite(t *testing.T) {
	t.Helper()
	for _, name := range suites() {
		archive, cases := readSuite(t, name)
		for i := range archive.Files {
			section := &archive.Files[i]
			at := slices.IndexFunc(cases, func(c suite.Case) bool { return c.Title == section.Name })
			if at < 0 {
				continue
			}
			index, err := cases[at].Index()
			if err != nil {
				t.Fatal(err)
			}
			object := cases[at].Object
			plan := planFor(t, object.Kind, object.JSON, index)
			section.Data = withPlan(section.Data, describe(t, plan))
			archive.Files[i+1].Data = []byte(asYAML(t, apply(t, object.JSON, plan)))
		}
		write(t, name, archive)
	}
}

// write writes a file of cases, with an empty line before each.
func write(t *testing.T, name string, archive *txtar.Archive) {
	t.Helper()
	for i := range archive.Files[:len(archive.Files)-1] {
		if next := archive.Files[i+1].Name; next != storedSection && next != companionsSection {
			archive.Files[i].Data = append(archive.Files[i].Data, '\n')
		}
	}
	if err := os.WriteFile(filepath.Join("testdata", name+suite.Extension), txtar.Format(archive), 0o644); err != nil {
		t.Fatal(err)
	}
}

// describe writes a plan, a line for each edit and gap.
func describe(t testing.TB, plan inject.Plan) string {
	t.Helper()
	var b strings.Builder
	for _, e := range plan.Edits {
		if e.Value == nil {
			fmt.Fprintf(&b, "remove %s (and up to %d empty parents)\n", strings.Join(e.Path, " "), e.Prune)
			continue
		}
		value, err := json.Marshal(e.Value)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "add %s = %s\n", strings.Join(e.Path, " "), value)
	}
	for _, g := range plan.Gaps {
		fmt.Fprintf(&b, "gap %s: %s must %s\n", policy.HoldsOf(g.Hold), strings.Join(g.Path, " "), g.Must)
	}
	return b.String()
}

func asYAML(t testing.TB, object []byte) string {
	t.Helper()
	text, err := yaml.JSONToYAML(object)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
