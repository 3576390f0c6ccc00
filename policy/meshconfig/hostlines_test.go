package meshconfig_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/meshfence/meshfence/policy/meshconfig"
)

// hostLines are items of a block list of an indent, each a host.
func hostLines(indent string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%s- a%d.shop.svc.cluster.local\n", indent, i)
	}
	return b.String()
}

// TestHostLines: long lists of hosts are read without the parser where they are lists, and as it reads them.
func TestHostLines(t *testing.T) {
	t.Parallel()
	many := hostLines("  ", 20)
	for name, test := range map[string]struct {
		text string
		runs int
	}{
		"a list":                        {"a:\n" + many + "b: c\n", 1},
		"at the indent of its key":      {"a:\n" + hostLines("", 20) + "b: c\n", 1},
		"two lists":                     {"a:\n" + many + "b:\n" + many, 2},
		"a list in a list":              {"a:\n- settings: {clusterLocal: true}\n  hosts:\n" + many + "- hosts:\n" + many, 2},
		"more items of other forms":     {"a:\n  - \"*.b.svc.cluster.local\"\n" + many + "  # note\n  - 'c'\n" + many, 2},
		"after an item of many lines":   {"a:\n  - b: c\n    d: e\n" + many, 1},
		"a few":                         {"a:\n" + hostLines("  ", 3), 0},
		"no end of the last line":       {"a:\n" + strings.TrimSuffix(many, "\n"), 1},
		"a literal":                     {"a: |\n" + many + "b: c\n", 0},
		"a folded scalar":               {"a: >-\n" + many + "b: c\n", 0},
		"a quoted scalar":               {"a: \"b\n" + many + "  \"\n", 0},
		"a plain scalar":                {"a: b\n" + many, 0},
		"an item that goes on":          {"a:\n" + many + "    and on\n", 0},
		"an item with a comment":        {"a:\n" + many + "  - b.c.svc.cluster.local # note\n", 1},
		"a list in a flow":              {"a: [\n" + many + "]\n", 0},
		"other ends of lines":           {strings.ReplaceAll("a:\n"+many, "\n", "\r\n"), 0},
		"a key among them":              {"a:\n" + many + "  b: c\n", 0},
		"an alias of such a list":       {"a: &x\n" + many + "b: *x\n", 1},
		"a second document":             {"a:\n" + many + "---\nb: c\n", 0},
		"the same in a literal and not": {"a: |\n" + many + "b:\n" + many, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if runs, diff := meshconfig.Runs(test.text); runs != test.runs || diff != "" {
				t.Errorf("%d runs, want %d; (-want +got):\n%s", runs, test.runs, diff)
			}
		})
	}
}

// FuzzHostLines: whatever is around them and in them.
func FuzzHostLines(f *testing.F) {
	f.Add("a:\n", "  ", "", "b: c\n")
	f.Add("a: |\n", "  ", "  more\n", "b: c\n")
	f.Add("a:\n- hosts:\n", "  ", "  # note\n", "- hosts: []\n")
	f.Add("? |\n", " ", " - x\n", ": y\n")
	f.Add("a: \"\n", "  ", "", "\"\n")
	f.Fuzz(func(t *testing.T, before, indent, between, after string) {
		if len(indent) > 8 || strings.Trim(indent, " ") != "" {
			t.Skip("it is no indent")
		}
		text := before + hostLines(indent, 17) + between + hostLines(indent, 18) + after
		if _, diff := meshconfig.Runs(text); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	})
}

// TestCostOfHosts: a change of a mesh config of many hosts takes memory for each of them, and little.
func TestCostOfHosts(t *testing.T) {
	const hosts, most = 10_000, 2 // allocations for each host
	want := manyHosts(hosts)
	plan := meshEdit(t, smallMesh, "", want)
	each := testing.AllocsPerRun(3, func() {
		if _, err := meshconfig.PlanText(meshconfig.Input{Text: plan.Text, Owned: plan.Owned, Want: want[1:], Domain: meshDomain}); err != nil {
			t.Fatal(err)
		}
	}) / hosts
	if each > most {
		t.Errorf("%.1f allocations for each host, want at most %d", each, most)
	}
}
