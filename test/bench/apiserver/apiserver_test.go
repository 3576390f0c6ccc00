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
	apierrors "k8s.io/apimachinery/pkg/api/errors"
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
	// behind is what works for the API server's address.
	behind []testbed.Consumer
	// refuses reports whether it refuses what leads out of the cluster.
	refuses bool
}

// base is the way that the others are compared with: what an API server pays for a mutating and a validating webhook that
// do nothing.
const base = "two empty"

// row is a kind of write, and by how many at once.
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
		// They make rules of 1.2 and of 6.9 kB.
		subsets, writers, rounds, writes = []int{4, 27}, []int{1, 8, 32}, 5, 64
	}
	var rows []row
	costs := map[row]map[string]cost{}
	for _, subsets := range subsets {
		for _, writers := range writers {
			create, update := row{"create", subsets, writers}, row{"update", subsets, writers}
			rows = append(rows, create, update)
			costs[create], costs[update] = map[string]cost{}, map[string]cost{}
			for range rounds { // in turns, so that what else the machine does meets all
				for _, w := range ways {
					created, updated := w.measure(t, subsets, writers, writes)
					costs[create][w.name] = costs[create][w.name].and(created)
					costs[update][w.name] = costs[update][w.name].and(updated)
				}
			}
		}
	}
	t.Log(table(t, ways, rows, costs))
}

// table shows what each way costs beside the base: median and 99th percentile of a write, and time of the processor.
func table(t *testing.T, ways []way, rows []row, costs map[row]map[string]cost) string {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "\n%-8s %-8s %-7s", "write", "bytes", "writers")
	for _, w := range ways {
		fmt.Fprintf(&b, " %24s", w.name)
	}
	total := map[string]cost{}
	for _, r := range rows {
		fmt.Fprintf(&b, "\n%-8s %-8d %-7d", r.verb, size(t, rule("open", 0, r.subsets)), r.writers)
		for _, w := range ways {
			c, than := costs[r][w.name], costs[r][base]
			fmt.Fprintf(&b, " %5.2f p50 %5.2f p99 %6s", ratio(c.at(0.5), than.at(0.5)), ratio(c.at(0.99), than.at(0.99)), c.at(0.5).Round(100*time.Microsecond))
			total[w.name] = total[w.name].and(c)
		}
	}
	fmt.Fprintf(&b, "\n%-25s", "processor time a write")
	for _, w := range ways {
		c := total[w.name]
		fmt.Fprintf(&b, " %5.2f %18s", ratio(c.each(), total[base].each()), c.each().Round(10*time.Microsecond))
	}
	return b.String()
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
	without, with := []testbed.Consumer{plain, empty}, []testbed.Consumer{fenced, meshfence}
	ways := []way{
		{"nothing", "none", dynamicClient(t, plain), without, false}, {"one empty", "one", dynamicClient(t, plain), without, true}, {base, "two", dynamicClient(t, plain), without, true},
		{"policy", "policy", dynamicClient(t, plain), without, true}, {"meshfence, open", "open", dynamicClient(t, fenced), with, false}, {"meshfence, strict", "strict", dynamicClient(t, fenced), with, true},
	}
	if *withPeers {
		ways = append(ways, startPeers(t)...)
	}
	for _, w := range ways {
		if err := testbed.Eventually(t.Context(), time.Minute, w.tryForeign); err != nil {
			t.Fatal(err)
		}
	}
	return ways
}

// dynamicClient returns a client without a limit of its own.
func dynamicClient(t *testing.T, c *testbed.Cluster) dynamic.Interface {
	t.Helper()
	config := c.Config()
	config.QPS = -1
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// tryForeign returns nil if what is in the way is asked: it refuses a rule that leads out of the cluster, where it is to.
func (w way) tryForeign(ctx context.Context) error {
	foreign := rule(w.namespace, 0, 1)
	foreign.SetName(refusedName)
	subset := map[string]any{"name": "foreign", "labels": map[string]any{"topology.istio.io/cluster": "m1c2"}}
	foreign.Object["spec"] = map[string]any{
		"host": "web", "subsets": []any{subset}, "trafficPolicy": map[string]any{"loadBalancer": map[string]any{"simple": "PASSTHROUGH"}},
	}
	_, err := w.client.Resource(rules).Namespace(w.namespace).Create(ctx, foreign, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if refused := apierrors.IsInvalid(err) || apierrors.IsForbidden(err) || apierrors.IsBadRequest(err); refused != w.refuses {
		return fmt.Errorf("%s: refused is %t, want %t: %v", w.name, refused, w.refuses, err) //nolint:errorlint // there may be none
	}
	return nil
}

// measure creates rules, updates each, and deletes them; it returns what the first two took.
func (w way) measure(t *testing.T, subsets, writers, writes int) (created, updated cost) {
	t.Helper()
	api := w.client.Resource(rules).Namespace(w.namespace)
	made := make([]*unstructured.Unstructured, writes)
	created = w.each(t, writers, writes, func(ctx context.Context, i int) (err error) {
		made[i], err = api.Create(ctx, rule(w.namespace, i, subsets), metav1.CreateOptions{})
		return err
	})
	updated = w.each(t, writers, writes, func(ctx context.Context, i int) error {
		made[i].SetAnnotations(map[string]string{"written": "again"})
		_, err := api.Update(ctx, made[i], metav1.UpdateOptions{})
		return err
	})
	w.each(t, writers, writes, func(ctx context.Context, i int) error {
		return api.Delete(ctx, made[i].GetName(), metav1.DeleteOptions{})
	})
	return created, updated
}

// each does something so many times by so many writers, and returns what it took.
func (w way) each(t *testing.T, writers, times int, do func(ctx context.Context, i int) error) cost {
	t.Helper()
	before, err := testbed.ProcessorTime(w.behind...)
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
	after, err := testbed.ProcessorTime(w.behind...)
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
