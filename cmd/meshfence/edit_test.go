package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/unicode"
)

// written has comments, another order than ours, quotes, and documents that nothing must change.
const (
	written = `# The shop.
apiVersion: v1
kind: Service
metadata:
  name: "reviews"   # who
  annotations: {meshfence.io/fence: strict}
spec:
    selector: {app: reviews}
---
# Not ours.
kind:   ConfigMap
apiVersion: v1
metadata: {name: other}
--- # rules
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: reviews
spec:
  subsets:
    # the first
    - name: v1
      labels:
        version: v1 # one

    - labels: {version: v2}
      name: v2
  host: reviews
`
	rewritten = `# The shop.
apiVersion: v1
kind: Service
metadata:
  name: "reviews"   # who
  annotations: {meshfence.io/fence: strict, meshfence.io/fenced-by: service annotation}
  labels:
    meshfence.io/fenced: strict
spec:
    selector: {app: reviews}
---
# Not ours.
kind:   ConfigMap
apiVersion: v1
metadata: {name: other}
--- # rules
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: reviews
  annotations:
    galley.istio.io/analyze-suppress: IST0173
    meshfence.io/injected: '{"labels":{"v1":"m1c1","v2":"m1c1"},"analyzeSuppress":true}'
spec:
  subsets:
    # the first
    - name: v1
      labels:
        version: v1 # one
        topology.istio.io/cluster: m1c1

    - labels: {version: v2, topology.istio.io/cluster: m1c1}
      name: v2
    - name: meshfence-local
      labels:
        topology.istio.io/cluster: m1c1
  host: reviews
`
	writtenList = `{
  "apiVersion": "v1",
  "kind": "List",
  "items": [
    {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "ratings", "annotations": {"meshfence.io/fence": "strict", "a": "\ud83d\ude00"}}, "spec": {"selector": {"app": "ratings"}}}
  ]
}
`
)

// After --write the files hold what is stored: a second run changes nothing.
func TestRenderWrite(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	config := write(t, t.TempDir(), "fenceconfig.yaml", fenceConfig)
	shop, list := write(t, dir, "shop.yaml", written), write(t, dir, "ratings.json", writtenList)
	other := write(t, dir, "other.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n")

	code, diff, stderr := meshfence(t, "", "render", "--diff", "-f", dir, "--config", config)
	if code != 0 || !strings.Contains(diff, "\n+    - name: meshfence-local\n") || strings.Contains(diff, other) {
		t.Errorf("exit code %d\n%s%s", code, diff, stderr)
	}
	if got := read(t, shop); got != written {
		t.Errorf("--diff wrote:\n%s", got)
	}
	code, stdout, stderr := meshfence(t, "", "render", "--write", "-f", dir, "--config", config)
	if code != 0 || stdout != list+"\n"+shop+"\n" {
		t.Errorf("exit code %d, printed %q\n%s", code, stdout, stderr)
	}
	if diff := cmp.Diff(rewritten, read(t, shop)); diff != "" {
		t.Errorf("shop.yaml (-want +got):\n%s", diff)
	}
	if got := read(t, list); !strings.Contains(got, `"a": "\ud83d\ude00", "meshfence.io/fenced-by": "service annotation"}, "labels": {"meshfence.io/fenced": "strict"}}`) {
		t.Errorf("ratings.json:\n%s", got)
	}
	for _, mode := range []string{"--write", "--diff"} {
		if code, stdout, stderr := meshfence(t, "", "render", mode, "-f", dir, "--config", config); code != 0 || stdout != "" {
			t.Errorf("%s again: exit code %d, printed %q\n%s", mode, code, stdout, stderr)
		}
	}
}

func TestRenderWriteStdin(t *testing.T) {
	t.Parallel()
	config := write(t, t.TempDir(), "fenceconfig.yaml", fenceConfig)
	for name, test := range map[string]struct{ in, want string }{
		"edited": {written, rewritten}, "again": {rewritten, rewritten},
	} {
		code, stdout, stderr := meshfence(t, test.in, "render", "--write", "-f", "-", "--config", config)
		if diff := cmp.Diff(test.want, stdout); code != 0 || diff != "" {
			t.Errorf("%s: exit code %d (-want +got):\n%s%s", name, code, diff, stderr)
		}
	}
}

// What cannot be edited is said, and then no file changes.
func TestRenderWriteWithoutPlace(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	config := write(t, t.TempDir(), "fenceconfig.yaml", fenceConfig)
	shop := write(t, dir, "a.yaml", written)
	write(t, dir, "b.yaml", "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: other}\nspec:\n  host: reviews\n  subsets:\n  - {name: v1, labels: &l {a: b}}\n  - {name: v2, labels: *l}\n")
	code, _, stderr := meshfence(t, "", "render", "--write", "-f", dir, "--config", config)
	if want := filepath.Join(dir, "b.yaml") + ":1: cannot be edited in place: line 8 is an alias"; code != exitError || !strings.Contains(stderr, want) {
		t.Errorf("exit code %d, want %d and %q:\n%s", code, exitError, want, stderr)
	}
	if read(t, shop) != written {
		t.Error("a.yaml changed")
	}
}

// A file keeps its encoding.
func TestRenderWriteEncodings(t *testing.T) {
	t.Parallel()
	config := write(t, t.TempDir(), "fenceconfig.yaml", fenceConfig)
	for name, encoding := range map[string]encoding.Encoding{
		"a byte order mark": unicode.UTF8BOM,
		"UTF-16":            unicode.UTF16(unicode.LittleEndian, unicode.UseBOM),
		"big UTF-16":        unicode.UTF16(unicode.BigEndian, unicode.UseBOM),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			encode := func(text string) string {
				encoded, err := encoding.NewEncoder().String(text)
				if err != nil {
					t.Fatal(err)
				}
				return encoded
			}
			path := write(t, t.TempDir(), "shop.yaml", encode(written))
			code, _, stderr := meshfence(t, "", "render", "--write", "-f", path, "--config", config)
			if got := read(t, path); code != 0 || got != encode(rewritten) {
				t.Errorf("exit code %d\n%s\n%q", code, stderr, got)
			}
		})
	}
}

// A file keeps line breaks that are carriage returns alone.
func TestRenderWriteCarriageReturns(t *testing.T) {
	t.Parallel()
	config := write(t, t.TempDir(), "fenceconfig.yaml", fenceConfig)
	encode := func(text string) string { return strings.ReplaceAll(text, "\n", "\r") }
	path := write(t, t.TempDir(), "shop.yaml", encode(written))
	code, _, stderr := meshfence(t, "", "render", "--write", "-f", path, "--config", config)
	if got := read(t, path); code != 0 || got != encode(rewritten) {
		t.Errorf("exit code %d\n%s\n%q", code, stderr, got)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

const functionInput = `apiVersion: config.kubernetes.io/v1
kind: ResourceList
functionConfig:
  apiVersion: config.meshfence.io/v1alpha1
  kind: FenceConfig
  metadata: {name: fences}
  controlPlane: {clusters: [m1c1]}
  holds: [subset]
items:
- apiVersion: v1
  kind: Service
  metadata:
    name: reviews # who
    annotations:
      meshfence.io/fence: strict
      internal.config.kubernetes.io/path: 'service.yaml'
      internal.config.kubernetes.io/index: '0'
  spec: {selector: {app: reviews}}
`

func TestKRM(t *testing.T) {
	t.Parallel()
	leaky := functionInput + `- apiVersion: networking.istio.io/v1
  kind: ServiceEntry
  metadata: {name: it, annotations: {internal.config.kubernetes.io/path: entry.yaml, internal.config.kubernetes.io/index: '2'}}
  spec: {hosts: [reviews.default.svc.cluster.local]}
`
	fenced := strings.Replace(functionInput, "      internal.config.kubernetes.io/index: '0'\n", `      internal.config.kubernetes.io/index: '0'
      meshfence.io/fenced-by: service annotation
    labels:
      meshfence.io/fenced: strict
`, 1)
	for name, test := range map[string]struct {
		in   string
		code int
		want string
	}{
		"edited":            {functionInput, 0, fenced},
		"again":             {fenced, 0, fenced},
		"a finding":         {leaky, exitDenied, "  file:\n    index: 2\n    path: entry.yaml\n"},
		"it is told, too":   {leaky, exitDenied, "-:22: items[1]: deny: ServiceEntry default/it: spec.hosts[0]: must not"},
		"a ConfigMap":       {strings.Replace(functionInput, functionInput[strings.Index(functionInput, "  apiVersion: config.m"):strings.Index(functionInput, "items")], "  {apiVersion: v1, kind: ConfigMap, data: {config.yaml: '{apiVersion: config.meshfence.io/v1alpha1, kind: FenceConfig, controlPlane: {clusters: [m1c1]}, holds: [subset]}'}}\n", 1), 0, "meshfence.io/fenced: strict"},
		"no config":         {"apiVersion: config.kubernetes.io/v1\nkind: ResourceList\nitems: []\n", exitError, "no FenceConfig"},
		"a bad config":      {strings.Replace(functionInput, "[subset]", "[wrong]", 1), exitError, "functionConfig"},
		"a config of text":  {"apiVersion: config.kubernetes.io/v1\nkind: ResourceList\nfunctionConfig: a\nitems: []\n", exitError, "functionConfig: must be a mapping, not a string\n"},
		"no ResourceList":   {written, exitError, "must be ResourceList"},
		"a misnamed kind":   {strings.Replace(leaky, "kind: ServiceEntry", "kind: ServiceEntries", 1), exitError, `-:20: items[1]: apiVersion "networking.istio.io/v1" has no kind "ServiceEntries"`},
		"what is no object": {strings.Replace(functionInput, "kind: Service", "kinds: Service", 1), exitError, "items[0]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := meshfence(t, test.in, "krm")
			if code != test.code || !strings.Contains(stdout+stderr, test.want) {
				t.Errorf("exit code %d, want %d and\n%s\ngot\n%s%s", code, test.code, test.want, stdout, stderr)
			}
		})
	}
}
