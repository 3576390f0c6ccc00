package apiserver_test

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/meshfence/meshfence/test/testbed"
)

// full has every row measured; it takes some five minutes. Without it each way is gone once, so that the measurement itself works.
var full = flag.Bool("full", false, "measure what writes cost through an API server")

const fenceConfig = `apiVersion: config.meshfence.io/v1alpha1
kind: FenceConfig
controlPlane: {clusters: [m1c1]}
holds: [subset]
`

// emptyScene has a Namespace for each thing that may be in the way of a write.
const emptyScene = `
apiVersion: v1
kind: Namespace
metadata: {name: none}
---
apiVersion: v1
kind: Namespace
metadata: {name: one, labels: {webhooks: one}}
---
apiVersion: v1
kind: Namespace
metadata: {name: two, labels: {webhooks: two}}
---
apiVersion: v1
kind: Namespace
metadata: {name: policy, labels: {policy: one}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: local}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules: [{apiGroups: [networking.istio.io], apiVersions: ["*"], operations: [CREATE, UPDATE], resources: ["*"]}]
  validations:
  - expression: '!has(object.spec.subsets) || object.spec.subsets.all(s, !has(s.labels) || !("topology.istio.io/cluster" in s.labels) || s.labels["topology.istio.io/cluster"] == "m1c1")'
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: local}
spec: {policyName: local, validationActions: [Deny], matchResources: {namespaceSelector: {matchLabels: {policy: one}}}}
`

// fencedScene has a Service that is open and one that is strict.
const fencedScene = `
apiVersion: v1
kind: Namespace
metadata: {name: open}
---
apiVersion: v1
kind: Namespace
metadata: {name: strict, labels: {meshfence.io/fence: strict}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: open}
spec: {selector: {app: web}, ports: [{name: http, port: 9080}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: strict}
spec: {selector: {app: web}, ports: [{name: http, port: 9080}]}
`

// rules are written.
var rules = schema.GroupVersionResource{Group: "networking.istio.io", Version: "v1", Resource: "destinationrules"}

// way is one thing that may be in the way of a write.
type way struct {
	name      string
	namespace string
	client    dynamic.Interface
	// spent returns how much time of the processor everything behind the API server's address has had.
	spent func() (time.Duration, error)
}

// base is the way that the others are compared with: what an API server pays for a mutating and a validating webhook that
// do nothing.
const base = "two empty"

// row is what is written at a time.
type row struct {
	verb    string
	subsets int
	writers int
}

// cost is what one way of a row took.
type cost struct {
	latencies []time.Duration
	spent     time.Duration
}

func (c cost) at(share float64) time.Duration {
	slices.Sort(c.latencies)
	return c.latencies[int(share*float64(len(c.latencies)-1))]
}

func TestWrites(t *testing.T) {
	ways := startWays(t)
	subsets, writers, rounds, writes := []int{2}, []int{4}, 1, 8
	if *full {
		// They make rules of 1.2 and of 6.7 kB.
		subsets, writers, rounds, writes = []int{4, 27}, []int{1, 8, 32}, 5, 64
	}
	total := map[string]cost{}
	var table strings.Builder
	fmt.Fprintf(&table, "\n%-8s %-8s %-7s", "write", "bytes", "writers")
	for _, w := range ways {
		fmt.Fprintf(&table, " %24s", w.name)
	}
	for _, subsets := range subsets {
		for _, writers := range writers {
			costs := map[row]map[string]cost{}
			for range rounds {
				for _, w := range ways {
					for verb, c := range w.measure(t, subsets, writers, writes) {
						r := row{verb, subsets, writers}
						if costs[r] == nil {
							costs[r] = map[string]cost{}
						}
						costs[r][w.name] = costs[r][w.name].and(c)
						total[w.name] = total[w.name].and(c)
					}
				}
			}
			for _, verb := range []string{"create", "update"} {
				r := row{verb, subsets, writers}
				fmt.Fprintf(&table, "\n%-8s %-8d %-7d", verb, size(t, rule("open", 0, subsets)), writers)
				for _, w := range ways {
					c, than := costs[r][w.name], costs[r][base]
					fmt.Fprintf(&table, " %5.2f p50 %5.2f p99 %6s", ratio(c.at(0.5), than.at(0.5)), ratio(c.at(0.99), than.at(0.99)), c.at(0.5).Round(100*time.Microsecond))
				}
			}
		}
	}
	fmt.Fprintf(&table, "\n%-25s", "processor time a write")
	for _, w := range ways {
		c := total[w.name]
		fmt.Fprintf(&table, " %5.2f %18s", ratio(c.each(), total[base].each()), c.each().Round(10*time.Microsecond))
	}
	t.Log(table.String())
}

func (c cost) and(other cost) cost {
	return cost{append(c.latencies, other.latencies...), c.spent + other.spent}
}

func (c cost) each() time.Duration { return c.spent / time.Duration(len(c.latencies)) }

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

// startWays starts a cluster with the webhook that only allows, and one with meshfence.
func startWays(t *testing.T) []way {
	t.Helper()
	logf.SetLogger(logr.Discard())
	plain, err := testbed.Start(t.Context(), testbed.Options{Number: 1, Name: "plain"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(plain.Stop)
	empty, err := startEmpty(t.Context(), plain)
	if err != nil {
		t.Fatal(err)
	}
	fenced, err := testbed.Start(t.Context(), testbed.Options{Number: 2, Name: "m1c1"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fenced.Stop)
	meshfence, err := fenced.Install(t.Context(), testbed.Installation{FenceConfig: fenceConfig})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(meshfence.Stop)
	if err := plain.Apply(t.Context(), emptyScene); err != nil {
		t.Fatal(err)
	}
	if err := fenced.Apply(t.Context(), fencedScene); err != nil {
		t.Fatal(err)
	}
	client := func(c *testbed.Cluster) dynamic.Interface {
		config := c.Config()
		config.QPS = -1
		client, err := dynamic.NewForConfig(config)
		if err != nil {
			t.Fatal(err)
		}
		return client
	}
	without, with := sum(plain.ProcessorTime, empty.ProcessorTime), sum(fenced.ProcessorTime, meshfence.ProcessorTime)
	return []way{
		{"nothing", "none", client(plain), without}, {"one empty", "one", client(plain), without}, {base, "two", client(plain), without},
		{"policy", "policy", client(plain), without}, {"meshfence, open", "open", client(fenced), with}, {"meshfence, strict", "strict", client(fenced), with},
	}
}

// sum adds up what several processes have had.
func sum(all ...func() (time.Duration, error)) func() (time.Duration, error) {
	return func() (time.Duration, error) {
		var total time.Duration
		for _, one := range all {
			spent, err := one()
			if err != nil {
				return 0, err
			}
			total += spent
		}
		return total, nil
	}
}

// measure creates rules, updates each, and deletes them; it returns what the first two took.
func (w way) measure(t *testing.T, subsets, writers, writes int) map[string]cost {
	t.Helper()
	api := w.client.Resource(rules).Namespace(w.namespace)
	made := make([]*unstructured.Unstructured, writes)
	costs := map[string]cost{
		"create": w.each(t, writers, writes, func(ctx context.Context, i int) (err error) {
			made[i], err = api.Create(ctx, rule(w.namespace, i, subsets), metav1.CreateOptions{})
			return err
		}),
		"update": w.each(t, writers, writes, func(ctx context.Context, i int) error {
			made[i].SetAnnotations(map[string]string{"written": "again"})
			_, err := api.Update(ctx, made[i], metav1.UpdateOptions{})
			return err
		}),
	}
	w.each(t, writers, writes, func(ctx context.Context, i int) error {
		return api.Delete(ctx, made[i].GetName(), metav1.DeleteOptions{})
	})
	return costs
}

// each does something so many times by so many writers, and returns what it took.
func (w way) each(t *testing.T, writers, times int, do func(ctx context.Context, i int) error) cost {
	t.Helper()
	before, err := w.spent()
	if err != nil {
		t.Fatal(err)
	}
	c := cost{latencies: make([]time.Duration, times)}
	var next atomic.Int32
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < times; i = int(next.Add(1)) - 1 {
				start := time.Now()
				if err := do(t.Context(), i); err != nil {
					t.Errorf("%s: %v", w.name, err)
				}
				c.latencies[i] = time.Since(start)
			}
		})
	}
	all.Wait()
	after, err := w.spent()
	if err != nil {
		t.Fatal(err)
	}
	if t.Failed() {
		t.FailNow()
	}
	c.spent = after - before
	return c
}

// rule is a DestinationRule with so many subsets.
func rule(namespace string, n, subsets int) *unstructured.Unstructured {
	var all []any
	for i := range subsets {
		version := fmt.Sprintf("v%d", i)
		all = append(all, map[string]any{
			"name": version, "labels": map[string]any{"version": version},
			"trafficPolicy": map[string]any{
				"connectionPool":   map[string]any{"tcp": map[string]any{"maxConnections": int64(100), "connectTimeout": "30ms"}, "http": map[string]any{"http2MaxRequests": int64(1000)}},
				"outlierDetection": map[string]any{"consecutive5xxErrors": int64(7), "interval": "30s", "baseEjectionTime": "60s"},
			},
		})
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
		"metadata": map[string]any{"name": fmt.Sprintf("rule-%d", n), "namespace": namespace},
		"spec":     map[string]any{"host": "web", "subsets": all},
	}}
}

func size(t *testing.T, o *unstructured.Unstructured) int {
	t.Helper()
	text, err := o.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return len(text)
}
