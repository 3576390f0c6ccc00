package mesh_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/meshfence/meshfence/controller/mesh"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
	"github.com/meshfence/meshfence/test/fakecluster"
)

const (
	config  = "controlPlane: {clusters: [m1c1]}\nholds: [subset]\n"
	shop    = "{apiVersion: v1, kind: Namespace, metadata: {name: shop}}"
	reviews = "{apiVersion: v1, kind: Service, metadata: {name: reviews, namespace: shop, annotations: {meshfence.io/fence: strict}}, spec: {ports: [{name: http, port: 80}]}}"
	fqdn    = "reviews.shop.svc.cluster.local"
)

func rule(name, spec string) string {
	return "{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: " + name + ", namespace: shop}, spec: {" + spec + "}}"
}

func route(name, spec string) string {
	return "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: " + name + ", namespace: shop}, spec: {" + spec + "}}"
}

// TestReplaces: only what Istio prefers to a companion for every client takes its place.
func TestReplaces(t *testing.T) {
	t.Parallel()
	c := fakecluster.New(t, config, shop, reviews)
	for name, test := range map[string]struct {
		object string
		want   bool
	}{
		"a rule":                            {rule("a", "host: reviews"), true},
		"a rule by the whole name":          {rule("a", "host: "+fqdn), true},
		"a rule for another host":           {rule("a", "host: ratings"), false},
		"a wildcard":                        {rule("a", `host: "*.shop.svc.cluster.local"`), false},
		"a rule in another case":            {rule("a", "host: Reviews"), false},
		"a rule for some clients":           {rule("a", "host: reviews, workloadSelector: {matchLabels: {app: a}}"), false},
		"a rule with a selector of nothing": {rule("a", "host: reviews, workloadSelector: null"), true},
		"a route":                           {route("a", "hosts: [ratings, reviews]"), true},
		"a route in another case":           {route("a", "hosts: [Reviews]"), true},
		"a route for another host":          {route("a", "hosts: [ratings]"), false},
		"a route of a gateway":              {route("a", "hosts: [reviews], gateways: [front]"), false},
		"a route of a gateway and the mesh": {route("a", "hosts: [reviews], gateways: [front, mesh]"), true},
		"a route for its own Namespace":     {route("a", `hosts: [reviews], exportTo: ["."]`), false},
		"a route for every Namespace":       {route("a", `hosts: [reviews], exportTo: [".", "*"]`), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := slim(t, c, test.object)
			if got := c.Mesh.Replaces(u, hostname.Host{Namespace: "shop", Name: "reviews"}); got != test.want {
				t.Errorf("takes the place of the companion: %t, want %t", got, test.want)
			}
		})
	}
}

func slim(t *testing.T, c *fakecluster.Cluster, text string) *unstructured.Unstructured {
	t.Helper()
	slim, err := mesh.Slim(c.Index)(fakecluster.Object(t, text))
	u, ok := slim.(*unstructured.Unstructured)
	if !ok || err != nil {
		t.Fatalf("slim %T: %v", slim, err)
	}
	return u
}

// TestSlim: of an object that is not a companion nothing is kept but what the controller asks for, which may be more than
// once.
func TestSlim(t *testing.T) {
	t.Parallel()
	c := fakecluster.New(t, config, shop, reviews)
	for name, test := range map[string]struct {
		object   string
		named    []string
		reserved []string
		sections []string
		differs  bool
		names    []string
	}{
		"a rule from before the fence": {rule("a", "host: reviews, trafficPolicy: {}"), []string{fqdn}, nil, nil, true, []string{"reviews"}},
		"a rule with the subset": {rule("a", "host: reviews, subsets: [{name: meshfence-local, labels: {topology.istio.io/cluster: m1c1}}]"),
			[]string{fqdn}, []string{fqdn}, nil, true, []string{"reviews"}},
		"a rule that nothing touches": {rule("a", "host: ratings"), []string{"ratings.shop.svc.cluster.local"}, nil, nil, false, []string{"ratings"}},
		"a route": {route("a", "hosts: [front, Front.shop], http: [{route: [{destination: {host: reviews, subset: meshfence-local}}, {destination: {host: ratings}}]}]"),
			[]string{"front.shop.svc.cluster.local", "front.shop", fqdn, "ratings.shop.svc.cluster.local"}, []string{fqdn}, []string{"http"}, false, []string{"front", "front"}},
		"a companion stays whole": {"{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: reviews-meshfence, namespace: shop, " +
			"labels: {app.kubernetes.io/managed-by: meshfence}}, spec: {host: " + fqdn + ", subsets: []}}", []string{fqdn}, nil, nil, false, []string{"reviews"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			once := slim(t, c, test.object)
			twice, err := mesh.Slim(c.Index)(once.DeepCopy())
			if diff := cmp.Diff(any(once), twice); diff != "" || err != nil {
				t.Errorf("error %v, twice (-once +twice):\n%s", err, diff)
			}
			type kept struct {
				Named, Reserved, Sections, Names []string
				Differs                          bool
			}
			want := kept{test.named, test.reserved, test.sections, test.names, test.differs}
			got := kept{c.Mesh.Named(once), c.Mesh.Reserved(once), mesh.Sections(once), mesh.ServiceNames(once), mesh.Differs(once)}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("kept (-want +got):\n%s", diff)
			}
		})
	}
	if o, err := mesh.Slim(c.Index)("a tombstone"); o != "a tombstone" || err != nil || mesh.ServiceNames(&corev1.Pod{}) != nil {
		t.Errorf("anything else must stay as it is, got %v, %v", o, err)
	}
}

// TestRulesFor and the routes that lead to them, as the cache has them.
func TestRulesFor(t *testing.T) {
	t.Parallel()
	c := fakecluster.New(t, config, shop, reviews,
		rule("plain", "host: reviews"), rule("other", "host: ratings"), rule("has", "host: reviews, subsets: [{name: meshfence-local, labels: {topology.istio.io/cluster: m1c1}}]"),
		route("leads", "hosts: [front], http: [{route: [{destination: {host: reviews, subset: meshfence-local}}]}]"),
		route("does-not", "hosts: [front], http: [{route: [{destination: {host: reviews}}]}]"))
	rules, err := c.Mesh.RulesFor(t.Context(), hostname.Host{Namespace: "shop", Name: "reviews"})
	if diff := cmp.Diff([]mesh.Rule{{Name: "has", Reserved: true}, {Name: "plain"}}, rules); diff != "" || err != nil {
		t.Errorf("error %v, rules (-want +got):\n%s", err, diff)
	}
	for _, host := range []string{fqdn, "*.shop.svc.cluster.local"} {
		routes, err := c.Mesh.LeadTo(t.Context(), host)
		if diff := cmp.Diff([]mesh.Target{{Kind: object.KindVirtualService, Namespace: "shop", Name: "leads"}}, routes); diff != "" || err != nil {
			t.Errorf("error %v, routes to %s (-want +got):\n%s", err, host, diff)
		}
	}
}

// TestPlan: admission does nothing to what is exempt or about to go, and what is neither metadata nor unstructured is an
// error.
func TestPlan(t *testing.T) {
	t.Parallel()
	c := fakecluster.New(t, config, shop, reviews)
	exempt := fakecluster.New(t, config+"scope: {exemptNamespaces: [shop]}\n", shop, reviews)
	going := fakecluster.Object(t, strings.Replace(rule("a", "host: reviews"), "name: a,", "name: a, deletionTimestamp: 2026-07-01T12:00:00Z,", 1))
	plain := fakecluster.Object(t, rule("a", "host: reviews"))
	for name, test := range map[string]struct {
		cluster *fakecluster.Cluster
		object  *unstructured.Unstructured
		want    bool
	}{"exempt": {exempt, plain, false}, "about to go": {c, going, false}, "from before the fence": {c, plain, true}} {
		_, plan, err := mesh.Plan(test.object, test.cluster.Index.View())
		if err != nil || len(plan.Edits) > 0 != test.want {
			t.Errorf("%s: error %v, %d edits; want some: %t", name, err, len(plan.Edits), test.want)
		}
	}
	if _, _, err := mesh.Plan(&corev1.Pod{}, c.Index.View()); err == nil {
		t.Error("a typed object must be an error")
	}
}

// mapper knows Istio's kinds after a while.
type mapper struct {
	meta.RESTMapper

	known *atomic.Bool
}

func (m mapper) RESTMapping(kind schema.GroupKind, versions ...string) (*meta.RESTMapping, error) {
	if !m.known.Load() {
		return nil, errors.New("no matches")
	}
	return m.RESTMapper.RESTMapping(kind, versions...)
}

// TestFindKinds waits for as long as the cluster has no Istio.
func TestFindKinds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := fakecluster.New(t, config)
		var known atomic.Bool
		time.AfterFunc(time.Minute+time.Second, func() { known.Store(true) })
		start := time.Now()
		kinds, err := mesh.FindKinds(t.Context(), mapper{c.Client.RESTMapper(), &known})
		if diff := cmp.Diff(fakecluster.Kinds(), kinds); diff != "" || err != nil || time.Since(start) != time.Minute+5*time.Second {
			t.Errorf("after %v, error %v, kinds (-want +got):\n%s", time.Since(start), err, diff)
		}
	})
}
