package meshconfig_test

import (
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/meshconfig"
)

var update = flag.Bool("update", false, "rewrite the goldens in testdata")

const meshDomain = "cluster.local"

// meshEntries turns "*.shop !web.shop" into entries; a leading ! is clusterLocal: false.
func meshEntries(hosts string) []policy.ClusterLocalEntry {
	var entries []policy.ClusterLocalEntry
	for _, host := range strings.Fields(hosts) {
		name, loose := strings.CutPrefix(host, "!")
		entries = append(entries, policy.ClusterLocalEntry{Host: name + ".svc." + meshDomain, Local: !loose})
	}
	return entries
}

func meshEdit(t testing.TB, text, owned string, want []policy.ClusterLocalEntry) meshconfig.Plan {
	t.Helper()
	plan, err := meshconfig.PlanText(meshconfig.Input{Text: text, Owned: owned, Want: want, Domain: meshDomain})
	if err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	return plan
}

// meshRoundTrip edits a text and demands what every edit promises: again changes nothing, Istio's type takes
// the result, the result says what is wanted, and without a wish the old bytes are back.
func meshRoundTrip(t testing.TB, text string, want []policy.ClusterLocalEntry) meshconfig.Plan {
	t.Helper()
	plan := meshEdit(t, text, "", want)
	again := meshEdit(t, plan.Text, plan.Owned, want)
	if diff := cmp.Diff(plan, again); diff != "" {
		t.Errorf("the second edit must change nothing (-first +second):\n%s", diff)
	}
	if reset := meshEdit(t, text, plan.Owned, want); reset.Text != plan.Text || reset.Owned != plan.Owned {
		t.Errorf("after a reset must be:\n%s\ngot:\n%s", plan.Text, reset.Text)
	}
	checkEffective(t, plan, want)
	removed := meshEdit(t, plan.Text, plan.Owned, nil)
	if diff := cmp.Diff(text, removed.Text); diff != "" || removed.Owned != "" {
		t.Errorf("must be as before, owned %q (-want +got):\n%s", removed.Owned, diff)
	}
	return plan
}

func TestMeshConfig(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no goldens: %v", err)
	}
	for _, file := range files {
		if filepath.Base(file) == "README.md" {
			continue
		}
		name, before := strings.CutSuffix(file, ".before.yaml")
		if !before {
			if _, err := os.Stat(strings.TrimSuffix(file, ".after.yaml") + ".before.yaml"); errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: no case uses it", file)
			}
			continue
		}
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			plan := meshRoundTrip(t, string(text), meshEntries("*.shop !web.shop reviews.default"))
			if *update {
				if err := os.WriteFile(name+".after.yaml", []byte(plan.Text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(name + ".after.yaml")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), plan.Text); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestMeshConfigErrors(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ text, want string }{
		"not YAML":         {"a: [", "mesh config must be YAML: line 1: did not find expected node content"},
		"not a mapping":    {"- a", "mesh config must be a mapping"},
		"tilde":            {"~", "mesh config must be a mapping"},
		"not a list":       {"a: b\nserviceSettings: {}", "mesh config line 2: serviceSettings must be a list"},
		"alias":            {"a: &a []\nserviceSettings: *a", "mesh config line 2: serviceSettings must be a list, not an alias"},
		"twice":            {"serviceSettings: []\nservice_settings: []", "mesh config line 2: serviceSettings must be there once"},
		"merged":           {"a: &a {}\n<<: *a", "mesh config line 2: serviceSettings must be written out, not merged with <<"},
		"entry":            {"serviceSettings: [a]", "mesh config line 1: serviceSettings[0] must be a mapping"},
		"settings":         {"serviceSettings: [{settings: a}]", "mesh config line 1: serviceSettings[0].settings must be a mapping"},
		"quoted boolean":   {"serviceSettings: [{settings: {clusterLocal: 'true'}}]", "mesh config line 1: serviceSettings[0].settings.clusterLocal must be true or false"},
		"hosts":            {"serviceSettings:\n- hosts: a", "mesh config line 2: serviceSettings[0].hosts must be a list"},
		"number":           {"serviceSettings:\n- hosts:\n  - a\n  - 1", "mesh config line 4: serviceSettings[0].hosts[1] must be a string"},
		"form of YAML":     {"? serviceSettings\n: []", "mesh config cannot be edited in place: its form of YAML is not understood"},
		"two documents":    {"a: b\n---\nc: d", "mesh config line 2: must be one YAML document"},
		"rest left over":   {"  a: b\nc: d", "mesh config must be YAML: line 1: did not find expected <document start>"},
		"odd line ends":    {"\r\r", "mesh config cannot be edited in place: its form of YAML is not understood"},
		"literal to spoil": {"a: |\n  b", "mesh config cannot be edited in place: its form of YAML is not understood"},
		"several lines":    {"{a: b\n c}", "mesh config cannot be edited in place: its form of YAML is not understood"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := meshconfig.PlanText(meshconfig.Input{Text: tt.text, Want: meshEntries("a.b"), Domain: meshDomain})
			if err == nil || err.Error() != tt.want {
				t.Errorf("want %q, got %v", tt.want, err)
			}
		})
	}
}

// TestMeshConfigTransitions edits the text between two edits of ours, as users and installers do.
func TestMeshConfigTransitions(t *testing.T) {
	t.Parallel()
	const start = "trustDomain: cluster.local\n"
	first := meshEdit(t, start, "", meshEntries("a.x b.x !c.x"))
	replace := func(old, with string) string {
		t.Helper()
		if !strings.Contains(first.Text, old) {
			t.Fatalf("%q is not in:\n%s", old, first.Text)
		}
		return strings.Replace(first.Text, old, with, 1)
	}
	const c = "  - c.x.svc.cluster.local\n"
	tests := map[string]struct {
		text, owned string
		want        []policy.ClusterLocalEntry
		wantText    string
	}{
		"a user's host in our entry stays": {
			text:     replace("  - b.x.svc.cluster.local\n", "  - own.x.svc.cluster.local # own\n  - b.x.svc.cluster.local\n"),
			wantText: start + "serviceSettings:\n- settings:\n    clusterLocal: true\n  hosts:\n  - own.x.svc.cluster.local # own\n",
		},
		"a user's host before hosts of ours in flow style": {
			text:     replace("\n  - a.x.svc.cluster.local\n  - b.x.svc.cluster.local\n", " [ own, a.x.svc.cluster.local , 'b.x.svc.cluster.local' ]\n"),
			wantText: start + "serviceSettings:\n- settings:\n    clusterLocal: true\n  hosts: [ own ]\n",
		},
		"a user's host behind hosts of ours in flow style": {
			text:     replace("\n  - a.x.svc.cluster.local\n  - b.x.svc.cluster.local\n", " [a.x.svc.cluster.local, b.x.svc.cluster.local, own]\n"),
			wantText: start + "serviceSettings:\n- settings:\n    clusterLocal: true\n  hosts: [own]\n",
		},
		"a user's entry behind ours stays": {
			text:     replace(c, c+"- hosts: [own]\n"),
			wantText: start + "serviceSettings:\n- hosts: [own]\n",
		},
		"a user's contradiction behind ours stays": {
			text:     replace(c, c+"- hosts: [a.x.svc.cluster.local]\n"),
			wantText: start + "serviceSettings:\n- hosts: [a.x.svc.cluster.local]\n",
		},
		"a user's agreement behind ours stays": {
			text:     replace(c, c+"- settings: {clusterLocal: true}\n  hosts: [a.x.svc.cluster.local]\n"),
			wantText: start + "serviceSettings:\n- settings: {clusterLocal: true}\n  hosts: [a.x.svc.cluster.local]\n",
		},
		"ours move behind a user's": {
			text: replace(c, c+"- hosts: [a.x.svc.cluster.local]\n"),
			want: meshEntries("a.x"),
			wantText: start + "serviceSettings:\n- hosts: [a.x.svc.cluster.local]\n" +
				"- settings:\n    clusterLocal: true\n  hosts:\n  - a.x.svc.cluster.local\n",
		},
		"a key behind ours stays": {
			text:     first.Text + "rootNamespace: istio-system\n",
			wantText: start + "rootNamespace: istio-system\n",
		},
		"comments around ours stay": {
			text:     replace("serviceSettings:\n", "# before\nserviceSettings:\n") + "# behind\n",
			wantText: start + "# before\n# behind\n",
		},
		"written anew in flow style": {
			text: start + "serviceSettings: [{hosts: [a.x.svc.cluster.local, b.x.svc.cluster.local], settings: {clusterLocal: true}},\n" +
				"  {hosts: [c.x.svc.cluster.local], settings: {}}]\nrootNamespace: istio-system\n",
			wantText: start + "rootNamespace: istio-system\n",
		},
		"written anew as JSON": {
			text: `{"serviceSettings":[{"hosts":["a.x.svc.cluster.local","b.x.svc.cluster.local"],"settings":{"clusterLocal":true}}` +
				`,{"hosts":["c.x.svc.cluster.local"],"settings":{}}],"trustDomain":"cluster.local"}`,
			wantText: `{"trustDomain":"cluster.local"}`,
		},
		"an installer's own empty list stays": {
			text:     start + "serviceSettings: []\n",
			wantText: start + "serviceSettings: []\n",
		},
		"hosts behind an alias are a user's": {
			text:     "x: &h [a.x.svc.cluster.local]\nserviceSettings:\n- settings: {clusterLocal: true}\n  hosts: *h\n",
			wantText: "x: &h [a.x.svc.cluster.local]\nserviceSettings:\n- settings: {clusterLocal: true}\n  hosts: *h\n",
		},
		"without the annotation ours are a user's": {
			text:     first.Text,
			owned:    "none",
			wantText: first.Text,
		},
		"a spoilt annotation is none": {
			text:     first.Text,
			owned:    `{"true":1}`,
			wantText: first.Text,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			owned := tt.owned
			if owned == "" {
				owned = first.Owned
			}
			plan := meshEdit(t, tt.text, owned, tt.want)
			if diff := cmp.Diff(tt.wantText, plan.Text); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if again := meshEdit(t, plan.Text, plan.Owned, tt.want); again.Text != plan.Text || again.Owned != plan.Owned {
				t.Errorf("the second edit must change nothing, got:\n%s", again.Text)
			}
		})
	}
}

func TestMeshConfigContradictions(t *testing.T) {
	t.Parallel()
	own := func(local, hosts string) string {
		return "- settings: {clusterLocal: " + local + "}\n  hosts: [" + hosts + "]\n"
	}
	tests := map[string]struct {
		text, want string
		found      []string
		overrides  []string // the hosts of ours that Want does not have
	}{
		"same host": {
			text: own("false", "a.x.svc.cluster.local"), want: "a.x",
			found: []string{`serviceSettings[0].hosts[0]: "a.x.svc.cluster.local" must not be clusterLocal: false, which meshfence overrides`},
		},
		"same wildcard, stricter": {
			text: own("true", "'*.x.svc.cluster.local'"), want: "* !*.x",
			found: []string{`serviceSettings[0].hosts[0]: "*.x.svc.cluster.local" must not be clusterLocal: true, which meshfence overrides`},
		},
		"looser inside ours": {
			text: own("false", "q, a.x.svc.cluster.local, '*-db.x.svc.cluster.local'"), want: "*.x",
			found: []string{
				`serviceSettings[0].hosts[1]: "a.x.svc.cluster.local" must not be clusterLocal: false, which meshfence overrides`,
				`serviceSettings[0].hosts[2]: "*-db.x.svc.cluster.local" must not be clusterLocal: false, which meshfence overrides`,
			},
			overrides: []string{"a.x.svc.cluster.local", "*-db.x.svc.cluster.local"},
		},
		"stricter inside a looser wildcard": {
			text: own("true", "a.x.svc.cluster.local"), want: "* !*.x",
			found: []string{`serviceSettings[0].hosts[0]: "a.x.svc.cluster.local" must not be clusterLocal: true, which stays, because it is stricter than the scope`},
		},
		"the last one counts": {
			text: own("false", "a.x.svc.cluster.local") + own("true", "a.x.svc.cluster.local"), want: "*.x",
		},
		"outside the scope": {
			text: own("true", "a.y.svc.cluster.local, '*.z'") + own("false", "b.y.svc.cluster.local"), want: "*.x",
		},
		"kube-system is Istio's": {
			text: own("false", "'*.kube-system.svc.cluster.local', dns.kube-system.svc.cluster.local"), want: "*",
		},
		"kube-system fenced": {
			text: own("false", "dns.kube-system.svc.cluster.local"), want: "* *.kube-system",
			found:     []string{`serviceSettings[0].hosts[0]: "dns.kube-system.svc.cluster.local" must not be clusterLocal: false, which meshfence overrides`},
			overrides: []string{"dns.kube-system.svc.cluster.local"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := "serviceSettings:\n" + tt.text
			plan := meshRoundTrip(t, text, meshEntries(tt.want))
			var found, overrides []string
			for _, c := range plan.Contradictions {
				found = append(found, c.String())
			}
			for _, line := range strings.Split(strings.TrimPrefix(plan.Text, text), "\n") {
				host, ok := strings.CutPrefix(line, "  - ")
				host = strings.Trim(host, `"`)
				if ok && !slices.ContainsFunc(meshEntries(tt.want), func(e policy.ClusterLocalEntry) bool { return e.Host == host }) {
					overrides = append(overrides, host)
				}
			}
			if diff := cmp.Diff(tt.found, found); diff != "" {
				t.Errorf("contradictions -want +got:\n%s", diff)
			}
			if diff := cmp.Diff(tt.overrides, overrides); diff != "" {
				t.Errorf("overrides -want +got:\n%s", diff)
			}
		})
	}
}
