package companion_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/meshfence/meshfence/controller/companion"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
	"github.com/meshfence/meshfence/test/fakecluster"
)

const (
	subsetConfig = "controlPlane: {clusters: [m1c1]}\nholds: [subset]\n"
	shop         = "{apiVersion: v1, kind: Namespace, metadata: {name: shop}}"
	reviews      = "{apiVersion: v1, kind: Service, metadata: {name: reviews, namespace: shop, annotations: {meshfence.io/fence: strict}}, spec: {ports: [{name: http, port: 80}]}}"
	unfenced     = "{apiVersion: v1, kind: Service, metadata: {name: reviews, namespace: shop}, spec: {ports: [{name: http, port: 80}]}}"
	// userRule has the reserved subset, and plainRule has none.
	userRule  = "{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: users, namespace: shop}, spec: {host: reviews, subsets: [{name: meshfence-local, labels: {topology.istio.io/cluster: m1c1}}]}}"
	plainRule = "{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: users, namespace: shop}, spec: {host: reviews}}"
	userRoute = "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: users, namespace: shop}, spec: {hosts: [reviews], http: [{route: [{destination: {host: reviews}}]}]}}"
	// leading is a route of somebody else's host to the reserved subset of reviews.
	leading = "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: front, namespace: shop}, spec: {hosts: [front], http: [{route: [{destination: {host: reviews, subset: meshfence-local}}]}]}}"
	// thief has the name of the companion rule, and another host.
	thief = "{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: reviews-meshfence, namespace: shop}, spec: {host: ratings}}"
)

// bed is a reconciler on a cluster.
type bed struct {
	*fakecluster.Cluster

	reconciler *companion.Reconciler
	yields     bool
}

func newBed(t *testing.T, config string, objects ...string) *bed {
	t.Helper()
	b := &bed{Cluster: fakecluster.New(t, config, append([]string{shop}, objects...)...)}
	b.lead()
	return b
}

// lead begins a term of leadership.
func (b *bed) lead() {
	b.reconciler = companion.New(companion.Options{
		Mesh: b.Mesh, Live: b.Client, Writer: b.Client, Yields: func() bool { return b.yields },
		Recorder: b.Recorder, Metrics: b.Metrics, Settle: settle,
	})
}

// rest reconciles the Service until nothing more is asked for, and returns what was written, the Events and the last error.
// What fails is tried again after a second, three times.
func (b *bed) rest(t *testing.T) (writes, events []string, err error) {
	t.Helper()
	request := reconcile.Request{NamespacedName: client.ObjectKey{Namespace: "shop", Name: "reviews"}}
	failures := 0
	for range 1000 {
		var result reconcile.Result
		if result, err = b.reconciler.Reconcile(t.Context(), request); err != nil {
			if failures++; failures == 3 {
				return b.Writes(), b.Events(), err
			}
			result.RequeueAfter = time.Second
		}
		if result.RequeueAfter == 0 {
			return b.Writes(), b.Events(), nil
		}
		time.Sleep(result.RequeueAfter)
	}
	t.Fatal("it does not come to rest")
	return nil, nil, nil
}

// step is a change of the cluster, and what comes of it.
type step struct {
	name   string
	change func(t *testing.T, b *bed)
	writes []string
	events []string
	err    string
}

// TestReconcile follows the companions of one Service through changes of the cluster: what is written, and after how long.
func TestReconcile(t *testing.T) {
	t.Parallel()
	put := func(text string) func(*testing.T, *bed) {
		return func(t *testing.T, b *bed) { t.Helper(); b.Put(t, text) }
	}
	remove := func(kind, name string) func(*testing.T, *bed) {
		return func(t *testing.T, b *bed) {
			t.Helper()
			gvk := fakecluster.Kinds().Rule
			switch kind {
			case object.KindVirtualService:
				gvk = fakecluster.Kinds().Route
			case object.KindService:
				gvk = corev1.SchemeGroupVersion.WithKind(kind)
			}
			b.Remove(t, gvk, "shop", name)
		}
	}
	nothing := func(*testing.T, *bed) {}
	const makeRule, makeRoute = "create DestinationRule shop/reviews-meshfence", "create VirtualService shop/reviews-meshfence"
	made := step{"they are made", nothing, []string{"0s " + makeRule, "10s " + makeRoute}, nil, ""}
	for name, test := range map[string]struct {
		config  string
		objects []string
		steps   []step
	}{
		"a Service becomes strict and is strict no more": {subsetConfig, []string{reviews}, []step{
			made,
			{"nothing changes", nothing, nil, nil, ""},
			{"it is not strict any more", put(unfenced), []string{"10s delete VirtualService shop/reviews-meshfence", "20s delete DestinationRule shop/reviews-meshfence"}, nil, ""},
			{"nothing changes", nothing, nil, nil, ""},
		}},
		"a new leader": {subsetConfig, []string{reviews}, []step{
			made,
			{"leads", func(_ *testing.T, b *bed) { b.lead() }, nil, nil, ""},
			{"and finds the route gone", remove(object.KindVirtualService, "reviews-meshfence"), []string{"10s " + makeRoute}, nil, ""},
		}},
		"somebody deletes the rule": {subsetConfig, []string{reviews}, []step{
			made,
			{"deleted", remove(object.KindDestinationRule, "reviews-meshfence"), []string{"10s " + makeRule}, nil, ""},
		}},
		"somebody edits the rule": {subsetConfig, []string{reviews}, []step{
			made,
			{"edited", func(t *testing.T, b *bed) {
				t.Helper()
				u := b.Get(t, fakecluster.Kinds().Rule, "shop", "reviews-meshfence")
				u.Object["spec"] = map[string]any{"host": "elsewhere"}
				u.SetLabels(map[string]string{"app.kubernetes.io/managed-by": "meshfence", "istio.io/rev": "canary", "team": "a"})
				if err := b.Client.Update(t.Context(), u); err != nil {
					t.Fatal(err)
				}
				b.Writes()
			}, []string{"10s update DestinationRule shop/reviews-meshfence"}, nil, ""},
		}},
		"users' objects take their place": {subsetConfig, []string{reviews}, []step{
			made,
			{"a route", put(userRoute), []string{"10s delete VirtualService shop/reviews-meshfence"}, nil, ""},
			{"a rule", put(userRule), []string{"20s delete DestinationRule shop/reviews-meshfence"}, nil, ""},
			{"the rule loses its subset", put(plainRule), nil, nil, ""},
			{"the route goes", remove(object.KindVirtualService, "users"), nil, []string{"RuleLacksSubset"}, ""},
			{"and the rule", remove(object.KindDestinationRule, "users"), []string{"20s " + makeRule, "20s " + makeRoute}, nil, ""},
		}},
		"a user's rule without the subset": {subsetConfig, []string{reviews, plainRule}, []step{
			{"no route", nothing, nil, []string{"RuleLacksSubset"}, ""},
			{"told once", nothing, nil, nil, ""},
			{"it gets one", put(userRule), []string{"10s " + makeRoute}, nil, ""},
			{"and loses it", put(plainRule), nil, []string{"RuleLacksSubset"}, ""},
		}},
		"routes lead to the subset": {subsetConfig, []string{reviews, leading}, []step{
			made,
			{"the rule outlasts them", put(unfenced), []string{"10s delete VirtualService shop/reviews-meshfence"}, nil, ""},
			{"they go", remove(object.KindVirtualService, "front"), []string{"20s delete DestinationRule shop/reviews-meshfence"}, nil, ""},
		}},
		"somebody else has the name": {subsetConfig, []string{reviews, thief}, []step{
			{"it is taken back", nothing, []string{"0s update DestinationRule shop/reviews-meshfence", "10s " + makeRoute}, []string{"CompanionNameTaken"}, ""},
		}},
		"the name is free by then": {subsetConfig, []string{reviews, thief}, []step{
			{"it is gone", func(_ *testing.T, b *bed) {
				b.lead()
				b.reconciler.Live = empty{b.Client}
				b.FailBy(func(verb string, o client.Object) error {
					if verb == "create" && o.GetObjectKind().GroupVersionKind().Kind == object.KindDestinationRule {
						return errors.New("try again")
					}
					return nil
				})
			}, nil, []string{"CompanionNameTaken"}, "create DestinationRule: try again"},
		}},
		"no Service":                   {subsetConfig, nil, []step{{"nothing", nothing, nil, nil, ""}}},
		"a Service that is not fenced": {subsetConfig, []string{unfenced}, []step{{"nothing", nothing, nil, nil, ""}}},
		"an external name": {subsetConfig, []string{strings.Replace(reviews, "spec: {", "spec: {type: ExternalName, externalName: elsewhere.example, ", 1)}, []step{
			{"nothing", nothing, nil, nil, ""},
		}},
		"a Service that goes": {subsetConfig, []string{reviews}, []step{
			made,
			{"the garbage collector takes them", remove(object.KindService, "reviews"), nil, nil, ""},
		}},
		"a Service that is about to go": {subsetConfig, []string{strings.Replace(reviews, "name: reviews,", "name: reviews, finalizers: [a/b],", 1)}, []step{
			{"nothing", func(t *testing.T, b *bed) {
				t.Helper()
				service := b.Get(t, corev1.SchemeGroupVersion.WithKind(object.KindService), "shop", "reviews")
				if err := b.Client.Delete(t.Context(), service); err != nil {
					t.Fatal(err)
				}
				b.Index.SetService(hostname.Host{Namespace: "shop", Name: "reviews"}, service.GetAnnotations())
				b.Writes()
			}, nil, nil, ""},
		}},
		"the config names a Service that is not here": {subsetConfig + "scope: {services: [{namespace: shop, name: reviews, fence: strict}]}\n", nil, []step{
			made,
			{"it does not name it any more", func(t *testing.T, b *bed) { t.Helper(); b.Index.SetConfig(fakecluster.Config(t, subsetConfig)) },
				[]string{"10s delete VirtualService shop/reviews-meshfence", "20s delete DestinationRule shop/reviews-meshfence"}, nil, ""},
		}},
		"the localities are not known": {"controlPlane: {clusters: [m1c1]}\nholds: [locality]\n", []string{reviews}, []step{
			{"no rule", nothing, nil, nil, ""},
			{"they are", func(t *testing.T, b *bed) {
				t.Helper()
				b.Index.SetConfig(fakecluster.Config(t, "controlPlane: {clusters: [m1c1]}\nholds: [locality]\nlocalities: {m1c1: [eu/a]}\n"))
			}, []string{"0s " + makeRule}, nil, ""},
			{"and are not again", func(t *testing.T, b *bed) {
				t.Helper()
				b.Index.SetConfig(fakecluster.Config(t, "controlPlane: {clusters: [m1c1]}\nholds: [locality]\n"))
			}, nil, nil, ""},
		}},
		"the Namespace goes": {subsetConfig, []string{reviews}, []step{
			{"nothing is made", func(_ *testing.T, b *bed) {
				b.FailBy(func(string, client.Object) error {
					return &apierrors.StatusError{ErrStatus: metav1.Status{Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}}}}
				})
			}, nil, nil, ""},
		}},
		"another webhook changes them": {subsetConfig, []string{reviews}, []step{
			{"told once", func(_ *testing.T, b *bed) {
				b.AdmitBy(func(u *unstructured.Unstructured) error {
					return unstructured.SetNestedField(u.Object, "changed", "spec", "host")
				})
			}, []string{
				"0s " + makeRule, "1s update DestinationRule shop/reviews-meshfence", "2s update DestinationRule shop/reviews-meshfence",
			}, []string{"CompanionChanged"}, "update DestinationRule: another admission webhook changes the companion"},
		}},
		"no replica answers yet": {subsetConfig, []string{reviews}, []step{
			{"it is no error", func(_ *testing.T, b *bed) {
				b.FailBy(func(string, client.Object) error {
					b.FailBy(nil)
					return apierrors.NewInternalError(errors.New(`failed calling webhook "istio.mutate.meshfence.io": no endpoints available for service "meshfence"`))
				})
			}, []string{"5s " + makeRule, "15s " + makeRoute}, nil, ""},
		}},
		"somebody else's webhook does not answer": {subsetConfig, []string{reviews}, []step{
			{"it is an error", func(_ *testing.T, b *bed) {
				b.FailBy(func(string, client.Object) error {
					return apierrors.NewInternalError(errors.New(`failed calling webhook "policy.example.com": no endpoints available for service "policy"`))
				})
			}, nil, nil, `create DestinationRule: Internal error occurred: failed calling webhook "policy.example.com": no endpoints available for service "policy"`},
		}},
		"a write fails": {subsetConfig, []string{reviews}, []step{
			{"it is an error", func(_ *testing.T, b *bed) {
				b.FailBy(func(string, client.Object) error { return errors.New("no") })
			}, nil, nil, "create DestinationRule: no"},
			{"until it does not", func(_ *testing.T, b *bed) { b.FailBy(nil) }, []string{"2s " + makeRule, "12s " + makeRoute}, nil, ""},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBed(t, test.config, test.objects...)
				for _, step := range test.steps {
					step.change(t, b)
					writes, events, err := b.rest(t)
					if diff := cmp.Diff(step.writes, writes); diff != "" {
						t.Errorf("%s: writes (-want +got):\n%s", step.name, diff)
					}
					if diff := cmp.Diff(step.events, events); diff != "" {
						t.Errorf("%s: Events (-want +got):\n%s", step.name, diff)
					}
					if got := fmt.Sprint(err); err != nil && got != step.err || err == nil && step.err != "" {
						t.Errorf("%s: error %q, want %q", step.name, got, step.err)
					}
				}
			})
		})
	}
}

// TestContested: of two who do not agree about a companion, this one writes ever more slowly, and tells of it once.
func TestContested(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, subsetConfig, reviews)
		if _, _, err := b.rest(t); err != nil {
			t.Fatal(err)
		}
		var writes, events []string
		for end := time.Now().Add(time.Hour); time.Now().Before(end); {
			if rule := b.Get(t, fakecluster.Kinds().Rule, "shop", "reviews-meshfence"); rule != nil {
				rule.Object["spec"] = map[string]any{"host": "reviews.shop.svc.cluster.local"}
				if err := b.Client.Update(t.Context(), rule); err != nil {
					t.Fatal(err)
				}
				b.Writes()
			}
			w, e, err := b.rest(t)
			if err != nil {
				t.Fatal(err)
			}
			writes, events = append(writes, w...), append(events, e...)
		}
		if diff := cmp.Diff([]string{"CompanionContested"}, events); diff != "" {
			t.Errorf("Events (-want +got):\n%s", diff)
		}
		if len(writes) < 5 || len(writes) > 20 {
			t.Errorf("%d writes in an hour, want a few: %v", len(writes), writes)
		}
	})
}

// TestYields: a leader that yields writes nothing, and looks again.
func TestYields(t *testing.T) {
	t.Parallel()
	b := newBed(t, subsetConfig, reviews)
	b.yields = true
	result, err := b.reconciler.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKey{Namespace: "shop", Name: "reviews"}})
	if diff := cmp.Diff(reconcile.Result{RequeueAfter: 5 * time.Second}, result); diff != "" || err != nil || b.Writes() != nil {
		t.Errorf("error %v, result (-want +got):\n%s", err, diff)
	}
}

// empty is a cluster of which only Services are read.
type empty struct{ client.Client }

func (e empty) Get(ctx context.Context, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
	if _, ok := o.(*corev1.Service); ok {
		return e.Client.Get(ctx, key, o, options...)
	}
	return apierrors.NewNotFound(corev1.Resource("any"), key.Name)
}

// TestReads: a companion takes the request that writes it and no other, and a Service that needs none takes none. Only what
// somebody else holds under its name is read.
func TestReads(t *testing.T) {
	t.Parallel()
	both := []string{"0s create DestinationRule shop/reviews-meshfence", "10s create VirtualService shop/reviews-meshfence"}
	for name, test := range map[string]struct {
		objects []string
		writes  []string
		reads   int64
	}{
		"a Service that asks for nothing": {objects: []string{unfenced}},
		"a strict Service":                {objects: []string{reviews}, writes: both},
		"somebody else has the name": {
			objects: []string{reviews, thief}, writes: []string{"0s update DestinationRule shop/reviews-meshfence", both[1]}, reads: 1,
		},
		"a user's rule takes the place": {objects: []string{strings.Replace(reviews, "strict", "prefer", 1), plainRule}},
		"users' objects take both places": {objects: []string{
			reviews, userRule, strings.Replace(userRoute, "http: [", "tls: [{match: [{sniHosts: [reviews]}], route: [{destination: {host: reviews}}]}], tcp: [{route: [{destination: {host: reviews}}]}], http: [", 1),
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBed(t, subsetConfig, test.objects...)
				live := &fakecluster.Reader{Reader: b.Client}
				b.reconciler.Live = live
				writes, _, err := b.rest(t)
				if diff := cmp.Diff(test.writes, writes); diff != "" || err != nil || live.Reads() != test.reads {
					t.Errorf("%d reads, want %d; error %v, writes (-want +got):\n%s", live.Reads(), test.reads, err, diff)
				}
			})
		})
	}
}
