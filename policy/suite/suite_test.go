package suite_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/meshfence/meshfence/policy/suite"
)

const scene = `Free text.
-- scene --
# Notes may be anywhere.
apiVersion: config.meshfence.io/v1alpha1
kind: FenceConfig
controlPlane: {clusters: [m1c1], network: n1}
holds: [meshConfig]
---
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop, annotations: {meshfence.io/fence: strict}}
`

func ExampleParse() {
	cases, err := suite.Parse("mirror.txtar", []byte(scene+`
-- A VirtualService copies the requests of a strict Service to another one. --
# expect: denied virtualservice-mirror
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: it, namespace: shop}
spec: {hosts: [reviews], http: [{mirror: {host: details}}]}
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, c := range cases {
		fmt.Printf("%s:%d: %s %s: %s %v\n", c.File, c.Line, c.Title, c.Object.Title(), c.Expect.Outcome, c.Expect.Rules)
	}
	// Output:
	// mirror.txtar:17: A VirtualService copies the requests of a strict Service to another one. VirtualService shop/it: denied [virtualservice-mirror]
}

// summary is a case without the text of its objects.
type summary struct {
	Line      int
	Config    string
	Scene     []string
	Old       string
	Writer    string
	Operation suite.Operation
	Stored    bool
	Expect    suite.Expectation
}

func TestParse(t *testing.T) {
	t.Parallel()
	const (
		config  = `{"controlPlane":{"clusters":["m1c1"],"network":"n1"},"holds":["meshConfig"],"kind":"FenceConfig"}`
		service = "apiVersion: v1\nkind: Service\nmetadata: {name: details, namespace: shop}\n"
	)
	both := []string{"Namespace shop", "Service shop/reviews"}
	passes := suite.Expectation{Outcome: suite.Passes}
	tests := map[string]struct {
		text string
		want []summary
	}{
		"created": {
			"# expect: passes\n" + service,
			[]summary{{Line: 16, Config: config, Scene: both, Expect: passes}},
		},
		"updated within the case": {
			"# expect: passes\n" + service + "---\n" + service,
			[]summary{{Line: 16, Config: config, Scene: both, Old: "Service shop/details", Expect: passes}},
		},
		"updated from the scene": {
			"# expect: passes\napiVersion: v1\nkind: Service\nmetadata: {name: reviews, namespace: shop}\n",
			[]summary{{Line: 16, Config: config, Scene: both[:1], Old: "Service shop/reviews", Expect: passes}},
		},
		"another group is another object": {
			"# expect: passes\napiVersion: example.com/v1\nkind: Service\nmetadata: {name: reviews, namespace: shop}\n",
			[]summary{{Line: 16, Config: config, Scene: both, Expect: passes}},
		},
		"beside others": {
			"# expect: passes\n" + service + "---\napiVersion: v1\nkind: Pod\nmetadata: {name: it, namespace: shop}\n",
			[]summary{{Line: 16, Config: config, Scene: append(both[:2:2], "Service shop/details"), Expect: passes}},
		},
		"without": {
			"# without: Service shop/reviews, Namespace shop\n# expect: passes\n" + service,
			[]summary{{Line: 16, Config: config, Expect: passes}},
		},
		"deleted by a user": {
			"# Why it is so.\n# as: jane\n# operation: delete\n# expect: passes\n" + service,
			[]summary{{Line: 16, Config: config, Scene: both, Writer: "jane", Operation: suite.Delete, Expect: passes}},
		},
		"several configs": {
			"# config: {}\n# config: {holds: [subset], controlPlane: {network: null}}\n# expect: passes\n" + service,
			[]summary{
				{Line: 16, Config: config, Scene: both, Expect: passes},
				{Line: 16, Config: `{"controlPlane":{"clusters":["m1c1"]},"holds":["subset"],"kind":"FenceConfig"}`, Scene: both, Expect: passes},
			},
		},
		"a config of its own": {
			"# expect: passes\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: meshfence}\ndata:\n  config.yaml: \"kind: FenceConfig\"\n---\n" + service,
			[]summary{{Line: 16, Config: `{"kind":"FenceConfig"}`, Scene: both, Expect: passes}},
		},
		"findings": {
			"# expect: denied one\n#   a: b\n#   c: d\n# expect: warned two\n#   e: f\n# expect: audited\n#   g: h\n" + service,
			[]summary{{Line: 16, Config: config, Scene: both, Expect: suite.Expectation{
				Outcome: suite.Denied, Rules: []string{"one", "two"}, Denied: []string{"a: b", "c: d"}, Warned: []string{"e: f"}, Audited: []string{"g: h"},
			}}},
		},
		"findings before it is fixed": {
			"# expect: fixed\n#   a: b\n" + service,
			[]summary{{Line: 16, Config: config, Scene: both, Expect: suite.Expectation{Outcome: suite.Fixed, Fixed: []string{"a: b"}}}},
		},
		"rules": {
			"# expect: fixed one two\n" + service,
			[]summary{{Line: 16, Config: config, Scene: both, Expect: suite.Expectation{Outcome: suite.Fixed, Rules: []string{"one", "two"}}}},
		},
		"stored": {
			service + "-- stored --\n" + service,
			[]summary{{Line: 16, Config: config, Scene: both, Stored: true}},
		},
		"another scene": {
			"# expect: passes\n" + service + "-- scene --\nkind: FenceConfig\n-- Next. --\n# expect: passes\n" + service,
			[]summary{
				{Line: 16, Config: config, Scene: both, Expect: passes},
				{Line: 23, Config: `{"kind":"FenceConfig"}`, Expect: passes},
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cases, err := suite.Parse("it.txtar", []byte(scene+"-- It is shown. --\n"+test.text))
			if err != nil {
				t.Fatal(err)
			}
			var got []summary
			for _, c := range cases {
				got = append(got, summarize(t, c))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func summarize(t *testing.T, c suite.Case) summary {
	t.Helper()
	config, err := yaml.YAMLToJSON(c.Config)
	if err != nil {
		t.Fatal(err)
	}
	s := summary{
		Line: c.Line, Config: strings.Replace(string(config), `"apiVersion":"config.meshfence.io/v1alpha1",`, "", 1),
		Writer: c.Writer, Operation: c.Operation, Stored: c.Stored != nil, Expect: c.Expect,
	}
	for _, d := range c.Scene {
		s.Scene = append(s.Scene, d.Title())
	}
	if c.Old != nil {
		s.Old = c.Old.Title()
	}
	return s
}

func TestParseProblems(t *testing.T) {
	t.Parallel()
	const pod = "kind: Pod\nmetadata: {name: it}\n"
	tests := map[string]struct{ text, want string }{
		"nothing":                {"", `it.txtar:1: must have a case: a line "-- What it shows. --", and an object`},
		"no config":              {"-- It. --\n# expect: passes\n" + pod, "it.txtar:1: must have a FenceConfig, in the scene or in the case"},
		"no object":              {scene + "-- It. --\n# expect: passes\n", "it.txtar:16: must have an object"},
		"no expectation":         {scene + "-- It. --\n" + pod, `it.txtar:16: must say what is expected: a line "# expect: denied", or a section "-- stored --"`},
		"no such outcome":        {scene + "-- It. --\n# expect: refused\n" + pod, `it.txtar:17: expect "refused" must be one of denied, warned, audited, fixed, passes`},
		"empty outcome":          {scene + "-- It. --\n# expect:\n" + pod, `it.txtar:17: expect "" must be one of denied, warned, audited, fixed, passes`},
		"two outcomes":           {scene + "-- It. --\n# expect: passes\n# expect: denied\n" + pod, "it.txtar:18: expect denied must not follow passes"},
		"outcomes in disorder":   {scene + "-- It. --\n# expect: warned\n# expect: denied\n" + pod, "it.txtar:18: expect denied must not follow warned"},
		"finding of none":        {scene + "-- It. --\n# expect: passes\n#   a: b\n" + pod, "it.txtar:18: a finding must follow an outcome, and not passes"},
		"no such directive":      {scene + "-- It. --\n# note: it\n" + pod, `it.txtar:17: "note" must be one of as, config, expect, operation, without`},
		"no such operation":      {scene + "-- It. --\n# operation: patch\n" + pod, `it.txtar:17: operation "patch" must be one of delete, audit`},
		"without what is absent": {scene + "-- It. --\n# without: Pod a/b\n" + pod, `it.txtar:16: "Pod a/b" must be an object of the scene`},
		"stored first":           {scene + "-- stored --\n" + pod, "it.txtar:16: must be one object, after the case that it is the result of"},
		"stored twice":           {scene + "-- It. --\n# expect: passes\n" + pod + "-- stored --\n" + pod + "-- stored --\n" + pod, "it.txtar:23: must be one object, after the case that it is the result of"},
		"no YAML":                {scene + "-- It. --\n# expect: passes\n" + pod + "---\na: [\n", "it.txtar:21: decode document: yaml: line 1: did not find expected node content"},
		"separator":              {scene + "-- It. --\n# expect: passes\n--- a: b\n", `it.txtar:18: "---" must be alone on its line`},
		"two sections": {
			scene + "-- It. --\n-- Another. --\n# expect: passes\n",
			"it.txtar:16: must have an object\nit.txtar:17: must have an object",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := suite.Parse("it.txtar", []byte(test.text))
			if err == nil {
				t.Fatal("must fail")
			}
			if diff := cmp.Diff(test.want, err.Error()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	text := []byte(scene + "-- It. --\n# expect: passes\nkind: Pod\nmetadata: {name: it}\n")
	cases, err := suite.Load(fstest.MapFS{
		"b.txtar": {Data: text}, "a.txtar": {Data: text}, "README.md": {Data: []byte("#")}, "below/c.txtar": {Data: text},
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range cases {
		got = append(got, c.File)
	}
	if diff := cmp.Diff([]string{"a.txtar", "b.txtar"}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// FuzzParse: no text makes Parse panic, and every error says the line.
func FuzzParse(f *testing.F) {
	f.Add(scene + "-- It. --\n# expect: denied\n#   a: b\n# without: Namespace shop\nkind: Pod\n")
	f.Add("-- scene --\n---\n--- a\n-- stored --\n# config: {a: null}\n")
	place := regexp.MustCompile(`^it\.txtar:[0-9]+: `)
	f.Fuzz(func(t *testing.T, text string) {
		cases, err := suite.Parse("it.txtar", []byte(text))
		if err != nil && !place.MatchString(err.Error()) {
			t.Errorf("%q: %v", text, err)
		}
		lines := strings.Count(text, "\n") + 1
		for _, c := range cases {
			if c.Line < 1 || c.Line > lines || c.Object.Line <= c.Line || c.Object.Line > lines {
				t.Errorf("%q: the case is in line %d, and its object in line %d", text, c.Line, c.Object.Line)
			}
		}
	})
}
