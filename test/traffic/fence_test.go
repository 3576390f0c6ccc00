package traffic_test

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/test/testbed"
	"github.com/meshfence/meshfence/xds"
)

var full = flag.Bool("full", false, "go through every hold in every mesh, and not only through one of each kind")

// TestFences goes through the holds in the kinds of mesh where they can hold. make matrix goes through all of them.
func TestFences(t *testing.T) {
	results := &testbed.Matrix{}
	t.Cleanup(func() { t.Logf("\n%s", results) })
	for _, mesh := range []struct {
		name    string
		options testbed.MeshOptions
		// some are the holds that every run goes through, all those of a full one.
		some, all []holds
		truths    map[string]func(*testing.T, *world)
	}{
		{
			name: "multi-primary", options: testbed.MeshOptions{NodeLabels: regions()},
			some: []holds{{"meshConfig", "subset"}, {"subset"}},
			all:  []holds{{"meshConfig"}, {"meshConfig", "subset"}, {"subset"}, {"locality"}},

			truths: truths(),
		},
		{
			name: "multi-primary by subzone", options: testbed.MeshOptions{NodeLabels: subzones()},
			all: []holds{{"locality"}},
		},
		{
			name: "one istiod", options: testbed.MeshOptions{NodeLabels: regions(), Shared: true},
			all: []holds{{"meshConfig"}, {"meshConfig", "subset"}, {"locality"}},
		},
		{
			name: "one istiod by subzone", options: testbed.MeshOptions{NodeLabels: subzones(), Shared: true},
			some: []holds{{"locality"}},
			all:  []holds{{"locality"}},
		},
	} {
		chosen := mesh.some
		if *full {
			chosen = mesh.all
		}
		if len(chosen) == 0 {
			continue
		}
		t.Run(mesh.name, func(t *testing.T) {
			w := startWorld(t, mesh.options)
			for _, h := range chosen {
				t.Run(h.String(), func(t *testing.T) {
					w.through(t, h, results, mesh.name+", "+h.String())
				})
			}
			for name, run := range mesh.truths {
				t.Run(name, func(t *testing.T) {
					t.Cleanup(func() { results.Add(mesh.name, name, "ok", !t.Failed()) })
					run(t, w)
				})
			}
		})
	}
}

// through goes through every scenario with one set of holds: one after the other where they change what all share,
// and then the rest at once.
func (w *world) through(t *testing.T, h holds, results *testbed.Matrix, column string) {
	for _, s := range scenarios() {
		if s.needs != "" && !slices.Contains(h, s.needs) {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			t.Cleanup(func() { results.Add(column, s.name, "ok", !t.Failed()) })
			w.configure(t, h, "none")
			s.run(t, w, h)
		})
	}
	w.configure(t, h, "none")
	for name, o := range userObjects() {
		t.Run(name, func(t *testing.T) {
			t.Cleanup(func() { results.Add(column, "strict, "+name, "ok", !t.Failed()) })
			t.Parallel()
			byService(t, w, o)
		})
	}
}

// regions are Node labels of clusters that share no locality.
func regions() map[string]map[string]string {
	return nodeLabels(func(cluster string) (region, subzone string) { return "region-" + cluster, "s" })
}

// subzones are Node labels of clusters in one zone, told apart by their subzones.
func subzones() map[string]map[string]string {
	return nodeLabels(func(cluster string) (region, subzone string) { return "region", cluster })
}

func nodeLabels(of func(cluster string) (region, subzone string)) map[string]map[string]string {
	labels := map[string]map[string]string{}
	for _, cluster := range []string{testbed.FirstCluster, testbed.SecondCluster} {
		region, subzone := of(cluster)
		labels[cluster] = map[string]string{
			"topology.kubernetes.io/region": region,
			"topology.kubernetes.io/zone":   "zone",
			"topology.istio.io/subzone":     subzone,
		}
	}
	return labels
}

// scenario is one row of the matrix.
type scenario struct {
	name string
	// needs is the hold without which it has no meaning.
	needs string
	run   func(*testing.T, *world, holds)
}

func scenarios() []scenario {
	return []scenario{
		{name: "strict by namespace, with an exception", run: byNamespace},
		{name: "strict for all, with an exception", run: byDefault},
		{name: "prefer fails over and returns", run: prefers},
		{name: "switched on and off under load", run: underLoad},
		{name: "mesh config reset under load", needs: "meshConfig", run: resetUnderLoad},
	}
}

// objects are what a user has in the namespace of a Service, in that of its clients, and in Istio's root namespace.
type objects struct{ own, callers, root string }

// userObjects are what a user may have, with HOST for the Service.
func userObjects() map[string]objects {
	const rule = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: NAMESPACE}
spec:
  host: HOST
  trafficPolicy: {connectionPool: {tcp: {connectTimeout: 1500ms}}}
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
`
	const route = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: NAMESPACE}
spec:
  hosts: [HOST]
  http: [{route: [{destination: {host: HOST%s}}]}]
---
`
	const some = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: NAMESPACE}
spec:
  hosts: [HOST]
  http:
  - match: [{port: 9080}, {sourceLabels: {such: none}}]
    route: [{destination: {host: HOST}}]
  tls:
  - match: [{port: 1, sniHosts: [HOST]}]
    route: [{destination: {host: HOST}}]
  tcp:
  - match: [{port: 1}, {sourceNamespace: none}]
    route: [{destination: {host: HOST}}]
---
`
	plain, subset := fmt.Sprintf(route, ""), fmt.Sprintf(route, ", subset: v1")
	return map[string]objects{
		"no rule":                              {},
		"a rule of the Service":                {own: rule},
		"a rule of the client":                 {callers: rule},
		"a rule of the root namespace":         {root: rule},
		"a rule and a route with its subset":   {own: rule + subset},
		"a route without subset":               {own: plain},
		"a rule, and a route without subset":   {own: rule + plain},
		"routes for some clients and ports":    {own: some},
		"a route of the client, and two rules": {own: rule, callers: rule + subset},
	}
}

// byService fences a Service that existed before, with the objects around it.
func byService(t *testing.T, w *world, o objects) {
	s := w.newShop(t, "reviews")
	fencedAndFreed(t, w, s, o)
}

// fencedAndFreed fences reviews, with the objects around it, and takes the fence away.
func fencedAndFreed(t *testing.T, w *world, s *shop, o objects) {
	for namespace, manifests := range map[string]string{s.namespace: o.own, s.callers: o.callers, "istio-system": o.root} {
		if manifests == "" {
			continue
		}
		for _, c := range w.Primaries() {
			apply(t, c, namespace, strings.NewReplacer("HOST", s.host("reviews"), "NAMESPACE", s.namespace).Replace(manifests))
		}
	}
	s.everywhere(t, "reviews")
	w.kubectl(t, "annotate", "service", "reviews", "-n", s.namespace, "meshfence.io/fence=strict")
	s.atHome(t, policy.Strict)
	s.failsClosed(t)
	w.kubectl(t, "annotate", "service", "reviews", "-n", s.namespace, "meshfence.io/fence-")
	s.everywhere(t, "reviews")
}

func byNamespace(t *testing.T, w *world, _ holds) {
	s := w.newShop(t, "reviews", "ratings")
	w.kubectl(t, "annotate", "service", "ratings", "-n", s.namespace, "meshfence.io/fence=none")
	s.everywhere(t, "reviews")
	w.kubectl(t, "label", "namespace", s.namespace, "meshfence.io/fence=strict")
	s.atHome(t, policy.Strict)
	s.everywhere(t, "ratings")
	s.failsClosed(t)
	w.kubectl(t, "label", "namespace", s.namespace, "meshfence.io/fence-")
	s.everywhere(t, "reviews")
}

func byDefault(t *testing.T, w *world, h holds) {
	s := w.newShop(t, "reviews", "ratings")
	w.kubectl(t, "annotate", "service", "ratings", "-n", s.namespace, "meshfence.io/fence=none")
	s.everywhere(t, "reviews")
	w.configure(t, h, "strict")
	s.atHome(t, policy.Strict)
	s.everywhere(t, "ratings")
	s.failsClosed(t)
	w.configure(t, h, "none")
	s.everywhere(t, "reviews")
}

func prefers(t *testing.T, w *world, _ holds) {
	s := w.newShop(t, "reviews")
	s.everywhere(t, "reviews")
	w.kubectl(t, "annotate", "service", "reviews", "-n", s.namespace, "meshfence.io/fence=prefer")
	s.atHome(t, policy.Prefer)
	for i, c := range w.Clusters {
		other := w.Clusters[1-i]
		s.down(t, c, "reviews")
		s.decided(t, "reviews", c, policy.Prefer, xds.Elsewhere, other.Name)
		s.up(t, c, "reviews")
		s.atHome(t, policy.Prefer)
	}
	w.kubectl(t, "annotate", "service", "reviews", "-n", s.namespace, "meshfence.io/fence-")
	s.everywhere(t, "reviews")
}

// perSecond is the rate of calls of each of the two clients: 200 in all.
const perSecond = 100

// load are the calls of the clients of every cluster.
type load map[*testbed.Cluster]*testbed.Load

func (s *shop) load(t *testing.T, app string) load {
	t.Helper()
	l := load{}
	for _, c := range s.mesh.Clusters {
		l[c] = s.clients[c.Name].StartLoad(t.Context(), s.request(app), perSecond)
	}
	return l
}

// steady waits for some more calls and counts who answers those that start from now on.
func (l load) steady(t *testing.T) map[*testbed.Cluster]map[string]int {
	t.Helper()
	counts := map[*testbed.Cluster]map[string]int{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for c, one := range l {
		all.Go(func() {
			records, err := one.Next(t.Context(), 2*perSecond)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Errorf("load from %s: %v", c.Name, err)
			}
			counts[c] = records.Sources()
		})
	}
	all.Wait()
	return counts
}

// stop ends the load, during which no call may have failed, but for one error that the client makes itself: where
// routes move to another cluster of Envoy's, grpc-go may pick for a route whose cluster it has just dropped. Envoy
// takes up such changes at once, in the order of istiod.
func (l load) stop(t *testing.T) {
	t.Helper()
	for c, one := range l {
		records, dropped := one.Stop(), 0
		for _, record := range records {
			switch {
			case record.Err == nil:
			case strings.Contains(record.Err.Error(), "unknown cluster selected for RPC"):
				dropped++
			default:
				t.Errorf("from %s: a call failed after %s: %v", c.Name, record.Took, record.Err)
			}
		}
		t.Logf("from %s: %d calls answered by %v, %d dropped by the client while routes moved", c.Name, len(records), records.Sources(), dropped)
	}
}

// underLoad switches a fence on and off. After each switch has settled, no call goes astray; and as every cluster has
// a ready endpoint all the time, no call fails at any time.
func underLoad(t *testing.T, w *world, _ holds) {
	s := w.newShop(t, "reviews")
	s.everywhere(t, "reviews")
	l := s.load(t, "reviews")
	for range 3 {
		w.kubectl(t, "annotate", "service", "reviews", "-n", s.namespace, "meshfence.io/fence=strict")
		s.atHome(t, policy.Strict)
		for c, counts := range l.steady(t) {
			if len(counts) != 1 || counts[c.Name] == 0 {
				t.Errorf("fenced: calls from %s went to %v", c.Name, counts)
			}
		}
		w.kubectl(t, "annotate", "service", "reviews", "-n", s.namespace, "meshfence.io/fence-")
		s.everywhere(t, "reviews")
		for c, counts := range l.steady(t) {
			if len(counts) != 2 {
				t.Errorf("not fenced: calls from %s went to %v", c.Name, counts)
			}
		}
	}
	l.stop(t)
}

// resetUnderLoad has an installer write the mesh config several times while calls run: none leaves.
func resetUnderLoad(t *testing.T, w *world, _ holds) {
	s := w.newShop(t, "reviews")
	s.everywhere(t, "reviews")
	w.kubectl(t, "annotate", "service", "reviews", "-n", s.namespace, "meshfence.io/fence=strict")
	s.atHome(t, policy.Strict)
	l := s.load(t, "reviews")
	for range 3 {
		for _, c := range w.Primaries() {
			reset(t, c)
		}
		for c, counts := range l.steady(t) {
			if len(counts) != 1 || counts[c.Name] == 0 {
				t.Errorf("after a reset: calls from %s went to %v", c.Name, counts)
			}
		}
	}
	s.atHome(t, policy.Strict)
	l.stop(t)
	w.kubectl(t, "annotate", "service", "reviews", "-n", s.namespace, "meshfence.io/fence-")
	s.everywhere(t, "reviews")
}

func (w *world) newShop(t *testing.T, apps ...string) *shop {
	t.Helper()
	localities := map[string]string{}
	for _, c := range w.Clusters {
		localities[c.Name] = w.locality(c.Name)
	}
	return newShop(t, w.Mesh, localities, apps...)
}
