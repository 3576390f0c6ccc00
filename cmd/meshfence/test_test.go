package main

import (
	"encoding/xml"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	testScene = `-- scene --
apiVersion: config.meshfence.io/v1alpha1
kind: FenceConfig
controlPlane: {clusters: [m1c1]}
holds: [subset]
---
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop, annotations: {meshfence.io/fence: strict}}
spec: {selector: {app: reviews}, ports: [{name: http, port: 9080}]}
-- It is shown. --
`
	testMirror = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: it, namespace: shop}
spec: {hosts: [reviews], http: [{route: [{destination: {host: reviews, subset: v1}}], mirror: {host: details}}]}
`
	testRule = `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: it, namespace: shop}
spec: {host: reviews, subsets: [{name: v1, labels: {version: v1}}]}
`
	testMirrorFinding = "spec.http[0].mirror.host: must be a strict host: reviews.shop.svc.cluster.local is strict (service annotation); " +
		"otherwise a copy of the host's requests goes where no fence keeps it in this cluster; fence that destination too, or name another one [virtualservice-mirror]"
)

// TestTestOwnSuites: the suites of the rules and the example for users are as expected.
func TestTestOwnSuites(t *testing.T) {
	t.Parallel()
	for _, folder := range []string{"policy/leak/testdata", "examples/suite"} {
		code, stdout, stderr := meshfence(t, "", "test", filepath.Join("..", "..", filepath.FromSlash(folder)))
		if code != 0 || stdout != "" || !strings.Contains(stderr, "not so: 0") {
			t.Errorf("%s: exit code %d\n%s%s", folder, code, stdout, stderr)
		}
	}
}

func TestTest(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		suite string
		code  int
		want  string // the output, without the file
	}{
		"denied":              {"# expect: denied\n" + testMirror, 0, ""},
		"denied by the rule":  {"# expect: denied virtualservice-mirror\n" + testMirror, 0, ""},
		"denied by a finding": {"# expect: denied\n#   " + testMirrorFinding + "\n" + testMirror, 0, ""},
		"fixed":               {"# expect: fixed destinationrule-unfenced\n" + testRule, 0, ""},
		"passes":              {"# expect: passes\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: it, namespace: shop}\n", 0, ""},
		"deleted by a user": {"# operation: delete\n# as: jane\n# expect: warned service-deleted\n" +
			"apiVersion: v1\nkind: Service\nmetadata: {name: reviews, namespace: shop, annotations: {meshfence.io/fence: strict}}\n", 0, ""},
		"deleted by meshfence": {"# operation: delete\n# as: system:serviceaccount:meshfence-system:meshfence\n# expect: passes\n" +
			"apiVersion: v1\nkind: Service\nmetadata: {name: reviews, namespace: shop, annotations: {meshfence.io/fence: strict}}\n", 0, ""},
		"audited": {"# config: {enforcement: audit}\n# expect: audited virtualservice-mirror\n" + testMirror, 0, ""},
		"another outcome": {
			"# expect: passes\n" + testMirror, 1,
			":11: want passes, got denied by virtualservice-mirror: It is shown.\n",
		},
		"another rule": {
			"# expect: fixed virtualservice-mirror\n" + testRule, 1,
			":11: want fixed by virtualservice-mirror, got fixed by destinationrule-unfenced: It is shown.\n",
		},
		"another finding": {
			"# expect: denied\n#   a: b\n" + testMirror, 1,
			":11: want other findings (-want +got), got denied by virtualservice-mirror: It is shown.\n  - a: b\n  + " + testMirrorFinding + "\n",
		},
		"another config": {
			"# config: {holds: [meshConfig]}\n# expect: fixed\n" + testRule, 1,
			":11: want fixed, got passes: It is shown. (config: {holds: [meshConfig]})\n",
		},
		"another object": {
			"apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n-- stored --\napiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {a: b}}\n", 1,
			":11: want another object stored (-want +got): It is shown.\n" +
				`  - {"apiVersion":"v1","kind":"Namespace","metadata":{"labels":{"a":"b"},"name":"shop"}}` + "\n" +
				`  + {"apiVersion":"v1","kind":"Namespace","metadata":{"name":"shop"}}` + "\n",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := write(t, t.TempDir(), "it.txtar", testScene+test.suite)
			code, stdout, stderr := meshfence(t, "", "test", file)
			if diff := cmp.Diff(test.want, strings.ReplaceAll(stdout, file, "")); diff != "" || code != test.code {
				t.Errorf("exit code %d, want %d, %s(-want +got):\n%s", code, test.code, stderr, diff)
			}
		})
	}
}

func TestTestVerbose(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	file := write(t, folder, "below/it.txtar", testScene+"# expect: denied\n"+testMirror)
	write(t, folder, "README.md", "# Not a suite")
	code, stdout, stderr := meshfence(t, "", "test", "-v", folder)
	if diff := cmp.Diff(file+":11: ok: It is shown.\n", stdout); diff != "" || code != 0 {
		t.Errorf("exit code %d (-want +got):\n%s", code, diff)
	}
	if diff := cmp.Diff("meshfence: cases: 1, of files: 1, as expected: 1, not so: 0\n", stderr); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestTestJUnit(t *testing.T) {
	t.Parallel()
	file := write(t, t.TempDir(), "it.txtar", testScene+"# expect: denied\n"+testMirror+"-- It differs. --\n# expect: passes\n"+testMirror)
	code, stdout, _ := meshfence(t, "", "test", "-o", "junit", file)
	if code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	var got junitSuite
	if err := xml.Unmarshal([]byte(stdout), &got); err != nil {
		t.Fatalf("%v\n%s", err, stdout)
	}
	want := junitSuite{XMLName: xml.Name{Local: "testsuite"}, Name: "meshfence test", Tests: 2, Failures: 1, Cases: []junitCase{
		{Class: "it", Name: "It is shown.", File: file, Line: 11},
		{Class: "it", Name: "It differs.", File: file, Line: 17, Failure: &junitFailure{
			Type: "differs", Message: "want passes, got denied by virtualservice-mirror",
		}},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestTestBadInput(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ suite, want string }{
		"no expectation": {testScene + testMirror, `:11: must say what is expected: a line "# expect: denied", or a section "-- stored --"`},
		"no config":      {"-- It. --\n# expect: passes\n" + testMirror, ":1: must have a FenceConfig, in the scene or in the case"},
		"bad config":     {testScene + "# config: {holds: [none]}\n# expect: passes\n" + testMirror, `:11: FenceConfig`},
		"bad object":     {testScene + "# expect: passes\napiVersion: v1\nkind: Service\nmetadata: {name: it}\nspec: []\n", ":12: decode Service: spec: must be a mapping"},
		"bad scene":      {testScene + "# expect: passes\napiVersion: v1\nkind: Service\nmetadata: {name: it}\nspec: []\n---\n" + testMirror, ":12: decode Service: spec: must be a mapping"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := write(t, t.TempDir(), "it.txtar", test.suite)
			code, stdout, stderr := meshfence(t, "", "test", file)
			if code != 2 || stdout != "" || !strings.HasPrefix(stderr, "meshfence: "+file+test.want) {
				t.Errorf("exit code %d, want 2: %s%s", code, stdout, stderr)
			}
		})
	}
	for name, arguments := range map[string][]string{
		"no path": {"test"}, "no such path": {"test", "none"}, "no suite": {"test", t.TempDir()}, "no such output": {"test", "-o", "sarif", "none"},
	} {
		if code, _, stderr := meshfence(t, "", arguments...); code != 2 {
			t.Errorf("%s: exit code %d, want 2: %s", name, code, stderr)
		}
	}
}
