package mesh_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
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

	companion = "{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: reviews-meshfence, namespace: shop, " +
		"labels: {app.kubernetes.io/managed-by: meshfence}}, spec: {host: " + fqdn + ", subsets: []}}"
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
			if got := c.Mesh.Replaces(decoded(t, test.object), hostname.Host{Namespace: "shop", Name: "reviews"}); got != test.want {
				t.Errorf("takes the place of the companion: %t, want %t", got, test.want)
			}
		})
	}
}

func decoded(t *testing.T, text string) *object.Object {
	t.Helper()
	o, err := mesh.Decode(fakecluster.Object(t, text))
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// TestNamed: by which hosts admission decides what an object needs, and which reserved subsets it speaks of.
func TestNamed(t *testing.T) {
	t.Parallel()
	c := fakecluster.New(t, config, shop, reviews)
	for name, test := range map[string]struct {
		object          string
		named, reserved []string
	}{
		"a rule": {rule("a", "host: reviews, trafficPolicy: {}"), []string{fqdn}, nil},
		"a rule with the subset": {rule("a", "host: reviews, subsets: [{name: meshfence-local, labels: {topology.istio.io/cluster: m1c1}}]"),
			[]string{fqdn}, []string{fqdn}},
		"a route": {route("a", "hosts: [front, Front.shop], http: [{route: [{destination: {host: reviews, subset: meshfence-local}}, {destination: {host: ratings}}]}]"),
			[]string{"front.shop.svc.cluster.local", "front.shop", fqdn, "ratings.shop.svc.cluster.local"}, []string{fqdn}},
		"a companion": {companion, []string{fqdn}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := decoded(t, test.object)
			if diff := cmp.Diff([][]string{test.named, test.reserved}, [][]string{c.Mesh.Named(o), c.Mesh.Reserved(o)}); diff != "" {
				t.Errorf("named and reserved (-want +got):\n%s", diff)
			}
		})
	}
}

// TestWhole: a companion is kept as it is stored, so that it can be written again, and nothing else is.
func TestWhole(t *testing.T) {
	t.Parallel()
	c := fakecluster.New(t, config, shop, reviews, companion, rule("users", "host: reviews"))
	view := c.Index.View()
	kept, _ := view.Object(object.Key{Kind: object.KindDestinationRule, Namespace: "shop", Name: "reviews-meshfence"})
	whole, err := mesh.Whole(kept)
	stored := c.Get(t, fakecluster.Kinds().Rule, "shop", "reviews-meshfence")
	stored.SetManagedFields(nil)
	if diff := cmp.Diff(stored, whole); diff != "" || err != nil {
		t.Errorf("error %v, companion (-want +got):\n%s", err, diff)
	}
	users, _ := view.Object(object.Key{Kind: object.KindDestinationRule, Namespace: "shop", Name: "users"})
	if _, err := mesh.Whole(users); users.Whole != nil || err == nil {
		t.Error("a user's rule is kept whole")
	}
}

// TestRulesFor and the routes that lead to them, as the index has them.
func TestRulesFor(t *testing.T) {
	t.Parallel()
	c := fakecluster.New(t, config, shop, reviews,
		rule("plain", "host: reviews"), rule("other", "host: ratings"), rule("has", "host: reviews, subsets: [{name: meshfence-local, labels: {topology.istio.io/cluster: m1c1}}]"),
		route("leads", "hosts: [front], http: [{route: [{destination: {host: reviews, subset: meshfence-local}}]}]"),
		route("does-not", "hosts: [front], http: [{route: [{destination: {host: reviews}}]}]"))
	rules := c.Mesh.RulesFor(hostname.Host{Namespace: "shop", Name: "reviews"})
	if diff := cmp.Diff([]mesh.Rule{{Name: "has", Reserved: true}, {Name: "plain"}}, rules); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
	for _, host := range []string{fqdn, "*.shop.svc.cluster.local"} {
		routes := c.Mesh.LeadTo(host)
		if diff := cmp.Diff([]object.Key{{Kind: object.KindVirtualService, Namespace: "shop", Name: "leads"}}, routes); diff != "" {
			t.Errorf("routes to %s (-want +got):\n%s", host, diff)
		}
	}
}

// TestPlan: admission does nothing to what is exempt.
func TestPlan(t *testing.T) {
	t.Parallel()
	c := fakecluster.New(t, config, shop, reviews)
	exempt := fakecluster.New(t, config+"scope: {exemptNamespaces: [shop]}\n", shop, reviews)
	plain := decoded(t, rule("a", "host: reviews"))
	for name, test := range map[string]struct {
		cluster *fakecluster.Cluster
		want    bool
	}{"exempt": {exempt, false}, "from before the fence": {c, true}} {
		if edits := mesh.Plan(plain, test.cluster.Index.View()).Edits; len(edits) > 0 != test.want {
			t.Errorf("%s: %d edits; want some: %t", name, len(edits), test.want)
		}
	}
}

// TestDecode: what is neither metadata nor unstructured is an error.
func TestDecode(t *testing.T) {
	t.Parallel()
	if _, err := mesh.Decode(&corev1.Pod{}); err == nil {
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

// TestFindKinds waits for as long as the cluster has no Istio, or the index not its objects.
func TestFindKinds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := fakecluster.New(t, config)
		var known, indexed atomic.Bool
		time.AfterFunc(time.Minute+time.Second, func() { known.Store(true) })
		time.AfterFunc(2*time.Minute+time.Second, func() { indexed.Store(true) })
		start := time.Now()
		kinds, err := mesh.FindKinds(t.Context(), mapper{c.Client.RESTMapper(), &known}, func(...string) bool { return indexed.Load() })
		if diff := cmp.Diff(fakecluster.Kinds(), kinds); diff != "" || err != nil || time.Since(start) != 2*time.Minute+5*time.Second {
			t.Errorf("after %v, error %v, kinds (-want +got):\n%s", time.Since(start), err, diff)
		}
	})
}
