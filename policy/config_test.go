package policy_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// minimal is the shortest config that is good.
const minimal = `apiVersion: config.meshfence.io/v1alpha1
kind: FenceConfig
controlPlane: {clusters: [m1c1]}
holds: [meshConfig]
`

func source() policy.Source {
	return policy.Source{File: "config.yaml", Rules: []string{"serviceentry-fenced-host"}}
}

func parse(t testing.TB, text string) *policy.Config {
	t.Helper()
	config, err := policy.ParseConfig(source(), []byte(text))
	if err != nil {
		t.Fatalf("ParseConfig: %v\n%s", err, text)
	}
	return config
}

// minimalConfig is what minimal means.
func minimalConfig() *policy.Config {
	return &policy.Config{
		Clusters:       []string{"m1c1"},
		IstioNamespace: "istio-system",
		MeshConfigMaps: []string{"istio"},
		ClusterDomain:  "cluster.local",
		Holds:          policy.HoldsOf(policy.MeshConfig),
		Enforcement:    policy.Enforce,
	}
}

func TestParseConfig(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		text string
		want func(*policy.Config)
	}{
		"minimal": {text: minimal, want: func(*policy.Config) {}},
		"example of the design": {
			text: `
apiVersion: config.meshfence.io/v1alpha1
kind: FenceConfig
controlPlane:
  clusters: [m1c1]                 # istio's CLUSTER_ID values; see "control plane clusters"
  istioNamespace: istio-system
  meshConfigMaps: [istio]          # one per istiod revision
  clusterDomain: cluster.local
  network: ""                      # this cluster's Istio network, where the mesh has several
holds: [meshConfig, subset]
localities: {}                     # hold locality: cluster -> [region/zone/subzone, region/*, ...]
scope:
  default: none
  namespaces: [{name: payments, fence: strict, locked: true}, {selector: {matchLabels: {tier: data}}, fence: prefer}]
  services:   [{namespace: default, name: reviews, fence: strict}]
  exemptNamespaces: [kube-system]
enforcement: enforce               # enforce | warn | audit
exemptions: [{rule: serviceentry-fenced-host, namespace: shop, name: legacy, until: 2026-12-31, reason: "moving"}]
`,
			want: func(c *policy.Config) {
				c.Holds = policy.HoldsOf(policy.MeshConfig, policy.Subset)
				c.Localities = map[string][]string{}
				c.Exemptions = []policy.Exemption{{
					Rule: "serviceentry-fenced-host", Namespace: "shop", Name: "legacy",
					Until: time.Date(2026, 12, 31, 0, 0, 0, 0, time.UTC), Reason: "moving",
				}}
			},
		},
		"several clusters": {
			text: `
apiVersion: config.meshfence.io/v1alpha1
kind: FenceConfig
controlPlane: {clusters: [m1c1, M1c2], istioNamespace: mesh, meshConfigMaps: [a, b.c], clusterDomain: k8s.example, network: n1}
holds: [locality, subset]
localities: {m1c1: [r1/z1, r1/z2/*, r1/z3/s1], M1c2: [r1/z3/s2, r2]}
enforcement: audit
`,
			want: func(c *policy.Config) {
				c.Clusters = []string{"m1c1", "M1c2"}
				c.IstioNamespace = "mesh"
				c.MeshConfigMaps = []string{"a", "b.c"}
				c.ClusterDomain = "k8s.example"
				c.Network = "n1"
				c.Holds = policy.HoldsOf(policy.Locality, policy.Subset)
				c.Localities = map[string][]string{"m1c1": {"r1/z1", "r1/z2/*", "r1/z3/s1"}, "M1c2": {"r1/z3/s2", "r2"}}
				c.Enforcement = policy.Audit
			},
		},
		"a cluster id that is no DNS label, on its own": {
			text: strings.NewReplacer("[m1c1]", "[m1.c1]", "[meshConfig]", "[meshConfig, subset]").Replace(minimal),
			want: func(c *policy.Config) {
				c.Clusters[0], c.Holds = "m1.c1", policy.HoldsOf(policy.MeshConfig, policy.Subset)
			},
		},
		"null counts as absent": {
			text: minimal + "localities: null\nscope: null\nenforcement: null\nexemptions: null\n",
			want: func(*policy.Config) {},
		},
		"without mesh ConfigMaps": {
			text: strings.NewReplacer("[m1c1]", "[m1c1], meshConfigMaps: []", "[meshConfig]", "[subset]").Replace(minimal),
			want: func(c *policy.Config) { c.MeshConfigMaps, c.Holds = []string{}, policy.HoldsOf(policy.Subset) },
		},
		"anchors and merge keys": {
			text: minimal + "scope:\n  default: &f prefer\n  namespaces:\n  - &a {name: a, fence: *f}\n  - {<<: *a, name: b}\n",
			want: func(*policy.Config) {},
		},
		"carriage returns": {text: strings.ReplaceAll(minimal, "\n", "\r\n"), want: func(*policy.Config) {}},
		"byte order mark":  {text: "\ufeff" + minimal, want: func(*policy.Config) {}},
		"markers":          {text: "---\n" + minimal + "---\n", want: func(*policy.Config) {}},
		"JSON": {
			text: `{"apiVersion":"config.meshfence.io/v1alpha1","kind":"FenceConfig","controlPlane":{"clusters":["m1c1"]},"holds":["meshConfig"]}`,
			want: func(*policy.Config) {},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := minimalConfig()
			tc.want(want)
			if diff := cmp.Diff(want, parse(t, tc.text), cmpopts.IgnoreUnexported(policy.Config{})); diff != "" {
				t.Errorf("config (-want +got):\n%s", diff)
			}
		})
	}
}

// TestParseConfigProblems compares the problems of each testdata/config/*.yaml with the text beside it.
func TestParseConfigProblems(t *testing.T) {
	t.Parallel()
	inputs, err := filepath.Glob("testdata/config/*.yaml")
	if err != nil || len(inputs) == 0 {
		t.Fatalf("no inputs: %v", err)
	}
	goldens := map[string]bool{}
	for _, input := range inputs {
		golden := strings.TrimSuffix(input, ".yaml") + ".txt"
		goldens[golden] = true
		t.Run(strings.TrimSuffix(filepath.Base(input), ".yaml"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(input)
			if err != nil {
				t.Fatal(err)
			}
			_, err = policy.ParseConfig(source(), text)
			configError, ok := errors.AsType[*policy.ConfigError](err)
			if !ok || len(configError.Problems) == 0 {
				t.Fatalf("got %v, want a *ConfigError with problems", err)
			}
			got := configError.Error() + "\n"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
			for i, p := range configError.Problems {
				if i > 0 && p.Line < configError.Problems[i-1].Line {
					t.Errorf("%s comes after line %d", p, configError.Problems[i-1].Line)
				}
			}
		})
	}
	all, err := filepath.Glob("testdata/config/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range all {
		if !strings.HasSuffix(file, ".yaml") && !goldens[file] {
			t.Errorf("%s belongs to no input", file)
		}
	}
}

// TestParseConfigOdd feeds texts that no golden file can hold well: the result is an error, and no panic.
func TestParseConfigOdd(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ text, want string }{
		"zero byte":        {minimal + "\x00", "control characters are not allowed"},
		"invalid UTF-8":    {minimal + "# \xff", "invalid"},
		"deep flow":        {strings.Repeat("[", 20000), "exceeded max depth"},
		"deep and closed":  {strings.Repeat("[", 9000) + strings.Repeat("]", 9000), "must be a mapping, not a list"},
		"deep mapping":     {minimal + "x: " + strings.Repeat("{a: ", 5000) + strings.Repeat("}", 5000), "unknown field"},
		"mapping as a key": {minimal + "? {a: b}\n: c\n", "map"},
		"many problems":    {minimal + strings.Repeat("kind: FenceConfig\n", 20000), "config.yaml:20004: kind: duplicate key"},
		"one long line":    {minimal + "colour: " + strings.Repeat("x", 1<<20), "config.yaml:5: colour: unknown field"},
		"many localities":  {minimal + "localities: {m1c1: [" + strings.Repeat("r/z/*,", 5000) + "]}", "must list 1 to 100"},
		"placeholder of the example": {strings.Replace(minimal, "m1c1", "EDIT-THIS", 1),
			`controlPlane.clusters[0]: "EDIT-THIS" must be istiod's CLUSTER_ID`},
		"key with brackets": {minimal + "localities: {\"a[0]\": [x], a: [b]}", `localities.a[0]: "a[0]" must be a cluster id`},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := policy.ParseConfig(source(), []byte(tc.text))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %.300v, want %q", err, tc.want)
			}
		})
	}
}

func TestParseConfigLarge(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	text.WriteString(minimal + "scope:\n  services:\n")
	for i := range 20000 {
		fmt.Fprintf(&text, "  - {namespace: shop, name: s%d, fence: strict}\n", i)
	}
	config := parse(t, text.String())
	scope := config.Namespace("shop", nil)
	if got := scope.Service("s19999", nil); got.Fence != policy.Strict || got.By != "config scope.services[19999]" {
		t.Errorf("got %+v", got)
	}
}

func TestExemptionCovers(t *testing.T) {
	t.Parallel()
	until := time.Date(2026, 12, 31, 0, 0, 0, 0, time.UTC)
	one := policy.Exemption{Rule: "r", Namespace: "ns", Name: "n", Until: until}
	all := policy.Exemption{Rule: "r", Namespace: "ns", Until: until}
	some := policy.Exemption{Rule: "r", Namespace: "ns", Selector: labels.SelectorFromSet(labels.Set{"a": "b"}), Until: until}
	lastMoment := time.Date(2026, 12, 31, 23, 59, 59, 0, time.UTC)
	tests := map[string]struct {
		exemption             policy.Exemption
		rule, namespace, name string
		labels                map[string]string
		now                   time.Time
		want                  bool
	}{
		"until the end of the day":     {one, "r", "ns", "n", nil, lastMoment, true},
		"not the day after":            {one, "r", "ns", "n", nil, lastMoment.Add(time.Second), false},
		"in UTC":                       {one, "r", "ns", "n", nil, time.Date(2027, 1, 1, 0, 30, 0, 0, time.FixedZone("", 3600)), true},
		"another rule":                 {one, "q", "ns", "n", nil, lastMoment, false},
		"another namespace":            {one, "r", "", "n", nil, lastMoment, false},
		"another object":               {one, "r", "ns", "m", nil, lastMoment, false},
		"every object":                 {all, "r", "ns", "m", nil, lastMoment, true},
		"every object of another":      {all, "r", "other", "m", nil, lastMoment, false},
		"every object, another rule":   {all, "q", "ns", "m", nil, lastMoment, false},
		"every object, too late":       {all, "r", "ns", "m", nil, lastMoment.Add(time.Second), false},
		"by its labels":                {some, "r", "ns", "m", map[string]string{"a": "b", "c": "d"}, lastMoment, true},
		"by its labels, another value": {some, "r", "ns", "m", map[string]string{"a": "c"}, lastMoment, false},
		"by its labels, without any":   {some, "r", "ns", "m", nil, lastMoment, false},
		"by its labels, in another":    {some, "r", "other", "m", map[string]string{"a": "b"}, lastMoment, false},
		"by its labels, another rule":  {some, "q", "ns", "m", map[string]string{"a": "b"}, lastMoment, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := tc.exemption.Covers(tc.rule, object.Metadata{Namespace: tc.namespace, Name: tc.name, Labels: tc.labels}, tc.now); got != tc.want {
				t.Errorf("got %t, want %t", got, tc.want)
			}
		})
	}
}

// FuzzParseConfig: no panic; problems say what is wrong; a config that parses, parses again equal.
func FuzzParseConfig(f *testing.F) {
	inputs, err := filepath.Glob("testdata/config/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, input := range inputs {
		text, err := os.ReadFile(input)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(minimal))
	f.Fuzz(func(t *testing.T, text []byte) {
		config, err := policy.ParseConfig(source(), text)
		if err != nil {
			configError, ok := errors.AsType[*policy.ConfigError](err)
			if !ok || config != nil {
				t.Fatalf("got %v and %v", config, err)
			}
			for _, p := range configError.Problems {
				if p.Message == "" || p.File == "" || p.Line < 0 {
					t.Errorf("empty problem %+v", p)
				}
			}
			return
		}
		again, err := policy.ParseConfig(source(), text)
		if err != nil || !reflect.DeepEqual(config, again) {
			t.Errorf("got %+v and then %+v, %v", config, again, err)
		}
	})
}
