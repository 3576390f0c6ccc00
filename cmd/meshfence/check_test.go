package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/policy/leak"
)

const (
	fenceConfig = `apiVersion: config.meshfence.io/v1alpha1
kind: FenceConfig
controlPlane: {clusters: [m1c1]}
holds: [subset]
`
	fencedService = `{apiVersion: v1, kind: Service, metadata: {name: reviews, annotations: {meshfence.io/fence: strict}}, spec: {selector: {app: reviews}, unknown: 1500ms}}
`
	plainRule = `{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: reviews}, spec: {host: reviews, subsets: [{name: v1, odd: 1m}]}}
`
	leakyRule = `{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: leaky}, spec: {host: reviews, trafficPolicy: {tunnel: {targetHost: a.example.com, targetPort: 443}}}}
`
	nodesConfig = `apiVersion: config.meshfence.io/v1alpha1
kind: FenceConfig
controlPlane: {clusters: [m1c1]}
holds: [locality]
`
	labelledNode = `{apiVersion: v1, kind: Node, metadata: {name: a, labels: {topology.kubernetes.io/region: eu, topology.kubernetes.io/zone: a}}}
`
	asJSONStream = `{"apiVersion":"v1","kind":"Service","metadata":{"name":"reviews","annotations":{"meshfence.io/fence":"strict"}},"spec":{"selector":{"app":"reviews"}}}
{"apiVersion":"networking.istio.io/v1","kind":"ServiceEntry","metadata":{"name":"it"},"spec":{"hosts":["reviews.default.svc.cluster.local"]}}
`
	aliasedMeshConfig = `apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    x: &s
    - {settings: {clusterLocal: false}, hosts: ["*"]}
    serviceSettings: *s
`
	foreignRule = `{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: foreign, labels: {istio.io/rev: canary}}, spec: {host: reviews}}
`
	asConfigMap = `apiVersion: v1
kind: ConfigMap
metadata: {name: meshfence, namespace: elsewhere}
data:
  config.yaml: |
    `
)

// meshfence runs a command and returns its exit code and what it printed.
func meshfence(t *testing.T, stdin string, arguments ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errOut bytes.Buffer
	command := newCommand()
	command.SetArgs(arguments)
	command.SetIn(strings.NewReader(stdin))
	command.SetOut(&out)
	command.SetErr(&errOut)
	return run(t.Context(), command), out.String(), errOut.String()
}

func write(t *testing.T, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCheck(t *testing.T) {
	t.Parallel()
	list := `{"apiVersion": "v1", "kind": "List", "items": [
{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default", "labels": {"meshfence.io/fence": "strict"}}},
{"apiVersion": "networking.istio.io/v1beta1", "kind": "ServiceEntry", "metadata": {"name": "it"}, "spec": {"hosts": ["reviews.default.svc.cluster.local"]}}]}`
	soon := time.Now().Add(48 * time.Hour).Format(time.DateOnly)
	byMesh := strings.Replace(fenceConfig, "[subset]", "[meshConfig]", 1)
	mesh := func(text string) string {
		return fmt.Sprintf("---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: istio, namespace: istio-system}, data: {mesh: %q}}\n", text)
	}
	const alias = "x: &s\n- settings: {clusterLocal: true}\n  hosts: [a]\nserviceSettings: *s\n"
	for name, test := range map[string]struct {
		stdin, config string
		code          int
		want          string
	}{
		"no mesh config at hand":           {stdin: fencedService + "---\n" + foreignRule, config: byMesh},
		"a mesh config":                    {stdin: fencedService + "---\n" + foreignRule + mesh("a: b"), config: byMesh},
		"a mesh config as it must not be":  {stdin: fencedService + "---\n" + plainRule + mesh(alias), config: byMesh, code: 1, want: "deny: ConfigMap istio-system/istio: data.mesh: must say clusterLocal: true"},
		"a mesh config that holds nothing": {stdin: fencedService + "---\n" + foreignRule + mesh(alias), config: byMesh, code: 1, want: "-:3: deny: DestinationRule default/foreign: metadata.labels"},
		"nothing denied":                   {stdin: fencedService + "---\n" + plainRule},
		"denied":                           {stdin: fencedService + "---\n" + leakyRule, code: 1, want: "-:3: deny: DestinationRule default/leaky: spec.trafficPolicy.tunnel: must not be set"},
		"order does not count":             {stdin: leakyRule + "---\n" + fencedService, code: 1, want: "-:1: deny"},
		"a List in JSON":                   {stdin: list, code: 1, want: "-:3: items[1]: deny: ServiceEntry default/it: spec.hosts[0]"},
		"warn":                             {stdin: fencedService + "---\n" + leakyRule, config: fenceConfig + "enforcement: warn\n", want: "-:3: warn: DestinationRule"},
		"an exemption that ends soon": {
			stdin: fencedService + "---\n" + leakyRule, want: "; accepted by an exemption until " + soon + " [destinationrule-tunnel]",
			config: fenceConfig + "exemptions: [{rule: destinationrule-tunnel, namespace: default, name: leaky, reason: test, until: " + soon + "}]\n",
		},
		"audit":                   {stdin: fencedService + "---\n" + leakyRule, config: fenceConfig + "enforcement: audit\n", want: "-:3: audit: DestinationRule"},
		"other kinds":             {stdin: "{apiVersion: apps/v1, kind: Deployment, metadata: {name: any}}\n---\n# nothing\n---\n"},
		"localities of Nodes":     {stdin: fencedService + "---\n" + plainRule + "---\n" + labelledNode, config: nodesConfig},
		"shared localities":       {stdin: fencedService + "---\n" + labelledNode, config: nodesConfig + "localities: {m1c2: [eu/a]}\n", code: 2, want: `it has Nodes in "eu/a/*", which overlaps "eu/a" of cluster m1c2`},
		"unknown localities":      {stdin: fencedService + "---\n" + plainRule, config: nodesConfig, code: 1, want: "its Nodes have not been read"},
		"JSON objects in a row":   {stdin: asJSONStream, code: 1, want: "-:2: deny: ServiceEntry default/it"},
		"JSON escapes":            {stdin: `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"n","annotations":{"a":"\ud83d\ude00","b":"a\/b"}}}`},
		"JSON that breaks off":    {stdin: asJSONStream + `{"kind":`, code: 2, want: "line 3: must be JSON"},
		"duplicate key in JSON":   {stdin: `{"apiVersion":"v1","kind":"Pod","kind":"Pod","metadata":{"name":"n"}}`, code: 2, want: "-:1: "},
		"behind a document end":   {stdin: fencedService + "...\n" + leakyRule, code: 1, want: "-:3: deny"},
		"a directive":             {stdin: "%YAML 1.1\n---\n" + fencedService},
		"a kind of lists":         {stdin: "{apiVersion: a.example.com/v1, kind: AllowList, metadata: {name: a}, items: {a: b}}"},
		"a generated name":        {stdin: fencedService + "---\n" + strings.ReplaceAll(leakyRule, "name: leaky", "generateName: leaky-"), code: 1, want: "DestinationRule default/leaky-: "},
		"a mesh ConfigMap":        {stdin: fencedService + "---\n" + aliasedMeshConfig, config: strings.ReplaceAll(fenceConfig, "subset", "meshConfig"), code: 1, want: "-:7: deny: ConfigMap istio-system/istio: data.mesh: "},
		"bad YAML":                {stdin: "a: [", code: 2, want: "-:1: "},
		"duplicate key":           {stdin: "apiVersion: v1\nkind: Service\nkind: Service\n", code: 2, want: "line 3: key \"kind\" already set"},
		"a misnamed kind":         {stdin: fencedService + "---\n" + strings.Replace(leakyRule, "kind: DestinationRule", "kind: DestinationRules", 1), code: 2, want: `-:3: apiVersion "networking.istio.io/v1" has no kind "DestinationRules": must be networking.istio.io/v1 DestinationRule`},
		"a misnamed version":      {stdin: fencedService + "---\n" + strings.Replace(leakyRule, "io/v1", "io/v1aplha3", 1), code: 2, want: "-:3: deny: DestinationRule default/leaky"},
		"no object":               {stdin: "a: b", code: 2, want: "must have apiVersion and kind"},
		"a field of a wrong type": {stdin: "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {selector: [a]}}", code: 2, want: "spec.selector: must be a mapping"},
		"a label that is no text": {stdin: "{apiVersion: v1, kind: Service, metadata: {name: a, labels: {version: 1}}}", code: 2, want: "-:1: must be a Kubernetes object: metadata.labels.version must be a string, not a number"},
		"bad config":              {stdin: fencedService, config: "holds: []\n", code: 2, want: "controlPlane.clusters: must list at least one cluster id"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := test.config
			if config == "" {
				config = fenceConfig
			}
			path := write(t, t.TempDir(), "fenceconfig.yaml", config)
			code, stdout, stderr := meshfence(t, test.stdin, "check", "-f", "-", "--config", path)
			if code != test.code || !strings.Contains(stdout+stderr, test.want) {
				t.Errorf("exit code %d, want %d and %q\n%s%s", code, test.code, test.want, stdout, stderr)
			}
			if test.code != exitError && !strings.Contains(stderr, "meshfence: read ") {
				t.Errorf("no summary: %q", stderr)
			}
			if test.want == "" && stdout != "" {
				t.Errorf("printed %q, want nothing", stdout)
			}
		})
	}
}

func TestCheckJSON(t *testing.T) {
	t.Parallel()
	config := write(t, t.TempDir(), "fenceconfig.yaml", fenceConfig)
	_, stdout, _ := meshfence(t, fencedService+"---\n"+leakyRule, "check", "-o", "json", "-f", "-", "--config", config)
	var got []map[string]any
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || !strings.HasPrefix(fmt.Sprint(got[0]["message"]), "must not be set: reviews.default.svc.cluster.local is strict (service annotation)") {
		t.Fatalf("got %v", got)
	}
	delete(got[0], "message")
	want := map[string]any{
		"rule": "destinationrule-tunnel", "severity": "deny", "kind": "DestinationRule", "namespace": "default", "name": "leaky",
		"field": "spec.trafficPolicy.tunnel", "host": "reviews.default.svc.cluster.local",
		"hosts":   []any{"reviews.default.svc.cluster.local"},
		"outcome": "denied", "must": "not be set", "why": "the host's traffic is tunnelled to a target that no hold covers",
		"fix": "remove the tunnel", "place": map[string]any{"file": "-", "line": 3.0},
	}
	if diff := cmp.Diff(want, got[0]); diff != "" {
		t.Errorf("finding (-want +got):\n%s", diff)
	}
	if _, stdout, _ := meshfence(t, fencedService, "check", "-o", "json", "-f", "-", "--config", config); stdout != "[]\n" {
		t.Errorf("without findings it prints %q", stdout)
	}
}

// Files, folders with what is below them, and the config among the manifests.
func TestRender(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "a/config.yaml", asConfigMap+strings.ReplaceAll(fenceConfig, "\n", "\n    "))
	write(t, dir, "b/service.yml", fencedService)
	write(t, dir, "b/c/rule.json", `{"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": "reviews"}, "spec": {"host": "reviews", "odd": 1.50, "big": 9007199254740993}}`)
	write(t, dir, "b/README.md", "not a manifest")
	code, stdout, stderr := meshfence(t, "", "render", "-f", dir)
	if code != 0 || stderr != "" {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	documents := strings.Split(stdout, "---\n")[1:]
	if len(documents) != 3 {
		t.Fatalf("%d documents, want 3:\n%s", len(documents), stdout)
	}
	want := `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  annotations:
    galley.istio.io/analyze-suppress: IST0173
    meshfence.io/injected: '{"analyzeSuppress":true}'
  name: reviews
spec:
  big: 9007199254740993
  host: reviews
  odd: 1.5
  subsets:
  - labels:
      topology.istio.io/cluster: m1c1
    name: meshfence-local
`
	if diff := cmp.Diff(want, documents[1]); diff != "" {
		t.Errorf("rule (-want +got):\n%s", diff)
	}
	if !strings.Contains(documents[2], "meshfence.io/fenced: strict") || !strings.Contains(documents[2], "unknown: 1500ms") {
		t.Errorf("Service:\n%s", documents[2])
	}
}

// What is no manifest in a folder hides nothing that the others hold.
func TestCheckFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	config := write(t, dir, "elsewhere/fenceconfig.yaml", fenceConfig)
	repository := filepath.Join(dir, "repository")
	template := write(t, repository, "chart/templates/service.yaml", "kind: Service\nmetadata: {name: {{ .Values.name }}}\n")
	write(t, repository, "chart/values.yaml", "replicas: 3\n")
	write(t, repository, "package.json", `{"name": "x"}`)
	write(t, repository, "apps/mixed.yaml", fencedService+"---\nno: object\n---\n"+leakyRule)

	code, stdout, stderr := meshfence(t, "", "check", "-f", repository, "--config", config)
	for _, want := range []string{
		"skipped " + template + ":1: is a template, render it first: helm template . | meshfence check -f -",
		"values.yaml:1: must have apiVersion and kind", "package.json:1: must have apiVersion and kind", "apps/mixed.yaml:3: must have apiVersion and kind",
		"read 2 objects, judged 2; Services that are strict: 1, prefer: 0; denials: 1, warnings: 0, recorded for the audit: 0; files skipped: 4",
	} {
		if !strings.Contains(stderr, want) {
			t.Errorf("stderr lacks %q:\n%s", want, stderr)
		}
	}
	if code != exitDenied || !strings.Contains(stdout, "mixed.yaml:5: deny") {
		t.Errorf("exit code %d, want %d\n%s", code, exitDenied, stdout)
	}
	for name, arguments := range map[string][]string{"strict": {"--strict", "-f", repository}, "named": {"-f", template}} {
		if code, _, stderr := meshfence(t, "", append([]string{"check", "--config", config}, arguments...)...); code != exitError {
			t.Errorf("%s: exit code %d, want %d\n%s", name, code, exitError, stderr)
		}
	}
}

func TestCheckForCI(t *testing.T) {
	t.Parallel()
	path := write(t, t.TempDir(), "fenceconfig.yaml", fenceConfig)
	rule := "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata:\n  name: leaky\nspec:\n  host: reviews\n  trafficPolicy:\n    tunnel: {targetHost: a, targetPort: 443}\n"
	for output, want := range map[string][]string{
		"text":   {"-:11: deny: DestinationRule default/leaky: spec.trafficPolicy.tunnel: "},
		"github": {"::error file=-,line=11,title=destinationrule-tunnel::DestinationRule default/leaky: spec.trafficPolicy.tunnel: must"},
		"junit":  {`<testsuite name="meshfence check" tests="1" failures="1">`, `<testcase classname="destinationrule-tunnel" name="DestinationRule default/leaky" file="-" line="11">`, `<failure type="destinationrule-tunnel"`},
		"sarif":  {`"startLine": 11`},
	} {
		t.Run(output, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := meshfence(t, "# first\n"+fencedService+"---\n"+rule, "check", "-f", "-", "--config", path, "-o", output)
			if code != exitDenied {
				t.Fatalf("exit code %d, want %d: %s", code, exitDenied, stderr)
			}
			for _, text := range want {
				if !strings.Contains(stdout, text) {
					t.Errorf("lacks %q:\n%s", text, stdout)
				}
			}
		})
	}
}

// What no API server takes is told of in a folder too, beside what is found in the rest.
func TestMisnamedInFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	config := write(t, t.TempDir(), "fenceconfig.yaml", fenceConfig)
	write(t, dir, "a.yaml", fencedService+"---\n"+leakyRule)
	misnamed := write(t, dir, "b.yaml", strings.Replace(plainRule, "kind: DestinationRule", "kind: destinationrule", 1))
	for _, command := range []string{"check", "render"} {
		code, stdout, stderr := meshfence(t, "", command, "-f", dir, "--config", config)
		if want := misnamed + `:1: apiVersion "networking.istio.io/v1" has no kind "destinationrule"`; code != exitError || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit code %d, want %d and %q\n%s", command, code, exitError, want, stderr)
		}
		if !strings.Contains(stdout+stderr, "a.yaml:3: deny") {
			t.Errorf("%s: no finding\n%s%s", command, stdout, stderr)
		}
	}
}

func TestRenderShowsDenials(t *testing.T) {
	t.Parallel()
	config := write(t, t.TempDir(), "fenceconfig.yaml", fenceConfig)
	code, stdout, stderr := meshfence(t, fencedService+"---\n"+leakyRule, "render", "-f", "-", "--config", config)
	if code != 1 || !strings.Contains(stderr, "[destinationrule-tunnel]") || strings.Count(stdout, "---\n") != 2 {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
}

func TestBadUsage(t *testing.T) {
	t.Parallel()
	config := write(t, t.TempDir(), "fenceconfig.yaml", fenceConfig)
	for name, test := range map[string]struct {
		arguments []string
		want      string
	}{
		"no files":                 {[]string{"check"}, `required flag(s) "filename" not set`},
		"absent file":              {[]string{"render", "-f", "absent.yaml", "--config", config}, "absent.yaml"},
		"absent config":            {[]string{"check", "-f", "-", "--config", "absent.yaml"}, "absent.yaml"},
		"no config":                {[]string{"check", "-f", "-"}, "no FenceConfig: give --config FILE"},
		"an empty file name":       {[]string{"check", "-f", "", "--config", config}, "--filename must name a file, a folder or -"},
		"an empty namespace":       {[]string{"check", "-f", "-", "-n", "", "--config", config}, `--namespace "" must be the name of a namespace`},
		"unknown output":           {[]string{"check", "-f", "-", "-o", "xml"}, `--output "xml" must be text, json, sarif, github or junit`},
		"unknown flag":             {[]string{"render", "--wrong"}, "unknown flag: --wrong"},
		"unknown command":          {[]string{"wrong"}, `unknown command "wrong"`},
		"serve, bad certificates":  {[]string{"serve", "--certificates=none"}, `--certificates "none" must be self-signed or mounted`},
		"serve, absent kubeconfig": {[]string{"serve", "--kubeconfig", "absent"}, "absent"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if code, _, stderr := meshfence(t, "", test.arguments...); code != 2 || !strings.Contains(stderr, test.want) {
				t.Errorf("exit code %d, want 2 and %q\n%s", code, test.want, stderr)
			}
		})
	}
}

func TestCheckSARIF(t *testing.T) {
	t.Parallel()
	path := write(t, t.TempDir(), "fenceconfig.yaml", fenceConfig)
	code, stdout, _ := meshfence(t, fencedService+"---\n"+leakyRule, "check", "-f", "-", "--config", path, "-o", "sarif")
	var log struct {
		Version string
		Runs    []struct {
			Tool struct {
				Driver struct {
					Version string
					Rules   []struct {
						ID, HelpURI            string
						ShortDescription, Help struct{ Text string }
					}
				}
			}
			Results []struct {
				RuleID, Level string
				RuleIndex     int
				Message       struct{ Text string }
				Locations     []struct {
					PhysicalLocation struct {
						ArtifactLocation struct{ URI string }
						Region           struct{ StartLine int }
					}
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(stdout), &log); err != nil {
		t.Fatalf("%v in %s", err, stdout)
	}
	if code != exitDenied || log.Version != "2.1.0" || len(log.Runs) != 1 || len(log.Runs[0].Results) != 1 {
		t.Fatalf("exit code %d, want 1 and one result of SARIF 2.1.0:\n%s", code, stdout)
	}
	if r := log.Runs[0].Results[0]; r.RuleID != "destinationrule-tunnel" || r.Level != "error" || !strings.HasPrefix(r.Message.Text, "spec.trafficPolicy.tunnel: must") {
		t.Errorf("got %+v", r)
	}
	driver, result := log.Runs[0].Tool.Driver, log.Runs[0].Results[0]
	if driver.Version == "" || len(driver.Rules) != len(leak.Rules()) || driver.Rules[result.RuleIndex].ID != result.RuleID {
		t.Errorf("version %q and %d rules, the one of the result is %+v", driver.Version, len(driver.Rules), driver.Rules[result.RuleIndex])
	}
	for _, r := range driver.Rules {
		if !strings.HasSuffix(r.HelpURI, "/docs/rules/"+r.ID+".md") || !strings.HasSuffix(r.ShortDescription.Text, ".") {
			t.Errorf("rule %+v", r)
		}
	}
	if at := result.Locations[0].PhysicalLocation; at.ArtifactLocation.URI != "-" || at.Region.StartLine != 3 {
		t.Errorf("found at %+v", at)
	}
}
