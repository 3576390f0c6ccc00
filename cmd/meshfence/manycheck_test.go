package main

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime/schema"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/meshfence/meshfence/policy/admit"
	"github.com/meshfence/meshfence/policy/object"
)

// shop is what a team keeps in Git, with ordinary Deployments among it.
const shopTemplate = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: service-NUMBER
  namespace: team-TEAM
  labels: {app.kubernetes.io/name: service-NUMBER, app.kubernetes.io/managed-by: Helm, helm.sh/chart: shop-1.2.3}
spec:
  replicas: 3
  selector:
    matchLabels: {app.kubernetes.io/name: service-NUMBER}
  template:
    metadata:
      labels: {app.kubernetes.io/name: service-NUMBER}
    spec:
      serviceAccountName: service-NUMBER
      securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
      containers:
        - name: service
          image: registry.example.com/shop/service-NUMBER:1.2.3
          args: [--listen=:8080, --metrics=:9091, --log-level=info]
          ports:
            - {name: http, containerPort: 8080}
            - {name: http-metrics, containerPort: 9091}
          env:
            - name: POD_NAME
              valueFrom: {fieldRef: {fieldPath: metadata.name}}
            - name: DATABASE
              value: postgres://database.shop.svc.cluster.local:5432/shop
          readinessProbe:
            httpGet: {path: /ready, port: http}
            periodSeconds: 5
          resources:
            requests: {cpu: 100m, memory: 128Mi}
            limits: {memory: 256Mi}
          securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}, readOnlyRootFilesystem: true}
---
apiVersion: v1
kind: Service
metadata:
  name: service-NUMBER
  namespace: team-TEAM
  labels: {app.kubernetes.io/name: service-NUMBER, app.kubernetes.io/managed-by: Helm, helm.sh/chart: shop-1.2.3}
spec:
  selector: {app.kubernetes.io/name: service-NUMBER}
  ports:
    - {name: http, port: 8080}
    - {name: http-metrics, port: 9091}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: service-NUMBER
  namespace: team-TEAM
spec:
  host: service-NUMBER
  trafficPolicy:
    connectionPool: {http: {http1MaxPendingRequests: 100}, tcp: {maxConnections: 100}}
    outlierDetection: {consecutive5xxErrors: 5, interval: 10s, baseEjectionTime: 30s}
  subsets:
    - name: v1
      labels: {version: v1}
    - name: v2
      labels: {version: v2}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: service-NUMBER
  namespace: team-TEAM
spec:
  hosts: [service-NUMBER]
  http:
    - match: [{headers: {canary: {exact: "true"}}}]
      route: [{destination: {host: service-NUMBER, subset: v2}}]
    - route: [{destination: {host: service-NUMBER, subset: v1}}]
      timeout: 5s
---
`

const shopConfig = `apiVersion: v1
kind: ConfigMap
metadata: {name: meshfence, namespace: meshfence-system}
data:
  config.yaml: |
    apiVersion: config.meshfence.io/v1alpha1
    kind: FenceConfig
    controlPlane: {clusters: [m1c1]}
    holds: [subset]
    scope: {namespaces: [{name: team-000, fence: strict}]}
---
`

// shop returns the manifests of n Services, of which a hundredth is strict.
func shop(n int) []byte {
	var text bytes.Buffer
	text.WriteString(shopConfig)
	for i := range n {
		text.WriteString(strings.NewReplacer("NUMBER", fmt.Sprintf("%05d", i), "TEAM", fmt.Sprintf("%03d", i%100)).Replace(shopTemplate))
	}
	return text.Bytes()
}

func judgeShop(tb testing.TB, text []byte) judged {
	tb.Helper()
	flags := sceneFlags{paths: []string{stdin}, namespace: "default"}
	j, err := flags.judge(bytes.NewReader(text))
	if err != nil {
		tb.Fatal(err)
	}
	return j
}

// BenchmarkShop compares check and render with decoding the same YAML.
func BenchmarkShop(b *testing.B) {
	text := shop(500)
	for name, run := range map[string]func(*testing.B){
		"decode": func(b *testing.B) {
			b.Helper()
			for _, d := range documents(text) {
				var object map[string]any
				if err := sigsyaml.Unmarshal(d.text, &object); err != nil {
					b.Fatal(err)
				}
			}
		},
		"check": func(b *testing.B) {
			b.Helper()
			command := newCommand()
			command.SetArgs([]string{"check", "-f", stdin})
			command.SetIn(bytes.NewReader(text))
			command.SetOut(io.Discard)
			command.SetErr(io.Discard)
			if err := command.Execute(); err != nil {
				b.Fatal(err)
			}
		},
		"render": func(b *testing.B) {
			b.Helper()
			if err := writeYAML(io.Discard, judgeShop(b, text).results); err != nil {
				b.Fatal(err)
			}
		},
		"write": func(b *testing.B) {
			b.Helper()
			if _, err := judgeShop(b, text).edit(); err != nil {
				b.Fatal(err)
			}
		},
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				run(b)
			}
		})
	}
}

// TestShopIsLinear: with four times as much to read, find and edit, check and render take four times as much, also where all
// of it is one List.
func TestShopIsLinear(t *testing.T) {
	const few, times = 50, 4
	for name, form := range map[string]func([]byte) []byte{
		"documents": func(text []byte) []byte { return text },
		"List":      listOf,
	} {
		t.Run(name, func(t *testing.T) {
			cost := map[int]uint64{}
			for _, n := range []int{few, times * few} {
				text := form(leaky(n))
				before := allocated()
				j := judgeShop(t, text)
				if found := len(j.findings()); found < n {
					t.Fatalf("%d findings for %d Services", found, n)
				}
				if _, err := j.edit(); err != nil {
					t.Fatal(err)
				}
				cost[n] = allocated() - before
			}
			if ratio := float64(cost[times*few]) / float64(cost[few]); ratio > 1.5*times {
				t.Errorf("%d times as much input takes %.1f times as much: %v bytes", times, ratio, cost)
			}
		})
	}
}

// leaky returns the manifests of n Services, all strict, with a route of each that leads elsewhere.
func leaky(n int) []byte {
	text := bytes.ReplaceAll(shop(n), []byte("{namespaces: [{name: team-000, fence: strict}]}"), []byte("{default: strict}"))
	return bytes.ReplaceAll(text, []byte("      timeout: 5s"), []byte("      mirror: {host: elsewhere.example}"))
}

// listOf returns documents as the items of one List.
func listOf(text []byte) []byte {
	list := bytes.NewBufferString("apiVersion: v1\nkind: List\nitems:\n")
	for _, d := range documents(text) {
		for i, line := range strings.Split(strings.TrimSpace(strings.TrimPrefix(string(d.text), "---")), "\n") {
			if line == "" {
				continue
			}
			indent := "  "
			if i == 0 {
				indent = "- "
			}
			list.WriteString(indent + line + "\n")
		}
	}
	return list.Bytes()
}

// allocated returns how many bytes have been allocated in all.
func allocated() uint64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.TotalAlloc
}

// TestShopMemory: what is held of manifests is bounded by their size, and that by a limit.
func TestShopMemory(t *testing.T) {
	text := shop(1000)
	for name, test := range map[string]struct {
		brief bool
		most  float64 // bytes for each of the input
	}{"check": {true, 5}, "render": {false, 5.6}} {
		flags := sceneFlags{paths: []string{stdin}, namespace: "default", brief: test.brief}
		before := heap()
		j, err := flags.judge(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if held := float64(heap()-before) / float64(len(text)); held > test.most {
			t.Errorf("%s: %.1f bytes held for each of the input, want at most %.1f", name, held, test.most)
		}
		runtime.KeepAlive(j)
	}
	if _, err := readManifests([]string{stdin}, bytes.NewReader(text), len(text)); err != nil {
		t.Error(err)
	}
	if _, err := readManifests([]string{stdin}, bytes.NewReader(text), len(text)-1); err == nil || !strings.Contains(err.Error(), "at most 256 MiB") {
		t.Errorf("more than the limit: %v", err)
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// TestToYAML: what render prints is what sigs.k8s.io/yaml makes of the same JSON.
func TestToYAML(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`{"a":1.0,"b":1e3,"c":0.1,"d":1e21,"e":9223372036854775807,"f":-5,"g":1.5e-7,"h":-0.0}`,
		`{"a":null,"b":true,"c":"yes","d":"1.0","e":"2001-01-01","f":"\u2028\u0007","g":"","h":"  x","i":"a\nb\n","j":[],"k":{},"l":[{"b":1,"a":[2]}]}`,
		`{"10":1,"9":2,"a10":1,"a9":2,"y":"~","<<":"x","=":"v","true":"q"}`,
	} {
		want, err := sigsyaml.JSONToYAML([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		got, err := toYAML([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
}

// TestCheckReadsEveryKind: what check drops is none of the kinds that admission or the index reads.
func TestCheckReadsEveryKind(t *testing.T) {
	t.Parallel()
	text := bytes.NewBufferString(shopConfig)
	for _, kind := range admit.Kinds() {
		version := "v1"
		if len(kind.Versions) > 0 {
			version = kind.Versions[0]
		}
		group := schema.GroupVersion{Group: kind.Group, Version: version}
		fmt.Fprintf(text, "---\n{apiVersion: %s, kind: %s, metadata: {name: some, namespace: shop}}\n", group, object.APIKind(kind.Kind))
	}
	flags := sceneFlags{paths: []string{stdin}, namespace: "default", brief: true}
	j, err := flags.judge(text)
	if err != nil {
		t.Fatal(err)
	}
	if want := len(admit.Kinds()) + 1; len(j.results) != want {
		t.Errorf("%d objects judged, want %d", len(j.results), want)
	}
}
