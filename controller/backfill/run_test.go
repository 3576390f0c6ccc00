package backfill_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/controller/backfill"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
	"github.com/meshfence/meshfence/test/fakecluster"
)

const (
	subsetConfig = "controlPlane: {clusters: [m1c1]}\nholds: [subset]\n"
	meshConfig   = "controlPlane: {clusters: [m1c1]}\nholds: [meshConfig]\n"
	shop         = "{apiVersion: v1, kind: Namespace, metadata: {name: shop}}"
	reviews      = "{apiVersion: v1, kind: Service, metadata: {name: reviews, namespace: shop, annotations: {meshfence.io/fence: strict}}, spec: {ports: [{name: http, port: 80}]}}"
	// plainRule and plainRoute are from before the fence, so that they lack the reserved subset.
	plainRule  = "{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: users, namespace: shop}, spec: {host: reviews}}"
	plainRoute = "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: users, namespace: shop}, spec: {hosts: [reviews], http: [{route: [{destination: {host: reviews}}]}]}}"

	patchRule  = "patch DestinationRule shop/users"
	patchRoute = "patch VirtualService shop/users"
)

// rate is how many objects are written a second.
const rate = 20

// bed is a backfill that runs on a cluster.
type bed struct {
	*fakecluster.Cluster
}

// start runs a backfill until the test ends.
func start(t *testing.T, config string, objects ...string) *bed {
	t.Helper()
	b := &bed{Cluster: fakecluster.New(t, config, append([]string{shop}, objects...)...)}
	b.run(t)
	return b
}

func (b *bed) run(t *testing.T) {
	t.Helper()
	filler := backfill.New(backfill.Options{
		Mesh: b.Mesh, Writer: b.Client, Recorder: b.Recorder, Metrics: b.Metrics,
		Rate: rate, Settle: 10 * time.Second, Resync: time.Hour,
	})
	fakecluster.Run(t, filler.Run)
}

// TestRun: objects from before their fence are sent through admission, in the order in which no request is lost, and what
// cannot be brought in line is tried again when that may help.
func TestRun(t *testing.T) {
	t.Parallel()
	type step struct {
		name   string
		change func(t *testing.T, b *bed)
		wait   time.Duration
		writes []string
		events []string
	}
	nothing := func(*testing.T, *bed) {}
	invalid := func(kind string) func(*testing.T, *bed) {
		return func(_ *testing.T, b *bed) {
			b.FailBy(func(_ string, o client.Object) error {
				if o.GetObjectKind().GroupVersionKind().Kind != kind {
					return nil
				}
				return apierrors.NewInvalid(schema.GroupKind{Kind: kind}, o.GetName(), nil)
			})
		}
	}
	config := func(text string) func(*testing.T, *bed) {
		return func(t *testing.T, b *bed) { t.Helper(); b.FailBy(nil); b.Index.SetConfig(fakecluster.Config(t, text)) }
	}
	const companion = "{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: reviews-meshfence, namespace: shop, labels: {app.kubernetes.io/managed-by: meshfence}}, " +
		"spec: {host: reviews.shop.svc.cluster.local, subsets: [{name: meshfence-local, labels: {topology.istio.io/cluster: m1c1}}]}}"
	for name, test := range map[string]struct {
		config  string
		objects []string
		before  func(t *testing.T, b *bed)
		steps   []step
	}{
		"the rule first, then the routes, and back": {subsetConfig, []string{reviews, plainRule, plainRoute}, nil, []step{
			{"tightened", nothing, time.Minute, []string{"0s " + patchRule, "10s " + patchRoute}, nil},
			{"in line", nothing, 59 * time.Minute, nil, nil},
			{"loosened", config(meshConfig), time.Minute, []string{"1h0m0s " + patchRoute, "1h0m10s " + patchRule}, nil},
		}},
		"one Service is fenced": {subsetConfig, []string{strings.Replace(reviews, "strict", "none", 1), plainRule, plainRoute}, nil, []step{
			{"nothing", nothing, time.Minute, nil, nil},
			{"a Service", func(t *testing.T, b *bed) { t.Helper(); b.Put(t, reviews) }, time.Minute, []string{"1m0s " + patchRule, "1m10s " + patchRoute}, nil},
		}},
		"a Namespace is fenced": {subsetConfig, []string{strings.Replace(reviews, "annotations: {meshfence.io/fence: strict}", "annotations: {}", 1), plainRule}, nil, []step{
			{"nothing", nothing, time.Minute, nil, nil},
			{"a label", func(t *testing.T, b *bed) {
				t.Helper()
				b.Put(t, "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {meshfence.io/fence: strict}}}")
			}, time.Minute, []string{"1m0s " + patchRule}, nil},
		}},
		"the route waits for the companion": {subsetConfig, []string{reviews, plainRoute}, nil, []step{
			{"there is none", nothing, 5 * time.Second, nil, nil},
			{"it comes", func(t *testing.T, b *bed) { t.Helper(); b.Put(t, companion) }, time.Minute, []string{"7s " + patchRoute}, nil},
		}},
		"the rule is refused": {subsetConfig, []string{reviews, plainRule, plainRoute}, invalid(object.KindDestinationRule), []step{
			{"the route is skipped", nothing, 10 * time.Minute, nil, []string{"BackfillFailed", "BackfillSkipped"}},
			{"something changes", config(subsetConfig + "# changed\n"), 10 * time.Minute, []string{"10m0s " + patchRule, "10m10s " + patchRoute}, nil},
		}},
		"the rule is refused, and fixed by its owner": {subsetConfig, []string{reviews, plainRule, plainRoute}, invalid(object.KindDestinationRule), []step{
			{"the route is skipped", nothing, 10 * time.Minute, nil, []string{"BackfillFailed", "BackfillSkipped"}},
			{"the rule is written", func(t *testing.T, b *bed) {
				t.Helper()
				b.FailBy(nil)
				b.Put(t, strings.Replace(plainRule, "host: reviews", "host: reviews, trafficPolicy: {}", 1))
			}, 10 * time.Minute, []string{"10m0s " + patchRule, "10m10s " + patchRoute}, nil},
		}},
		"the route is refused": {subsetConfig, []string{reviews, plainRule, plainRoute}, invalid(object.KindVirtualService), []step{
			{"told", nothing, 10 * time.Minute, []string{"0s " + patchRule}, []string{"BackfillFailed"}},
			{"and not tried again before the resync", nothing, 49 * time.Minute, nil, nil},
			{"nor told of again", nothing, 2 * time.Hour, nil, nil},
			{"until it passes", func(_ *testing.T, b *bed) { b.FailBy(nil) }, 2 * time.Hour, []string{"3h0m0s " + patchRoute}, nil},
		}},
		"a rule that routes still lead to": {subsetConfig, []string{reviews, plainRule, plainRoute}, nil, []step{
			{"tightened", nothing, time.Minute, []string{"0s " + patchRule, "10s " + patchRoute}, nil},
			{"keeps its subset", func(t *testing.T, b *bed) {
				t.Helper()
				config(meshConfig)(t, b)
				invalid(object.KindVirtualService)(t, b)
			}, 10 * time.Minute, nil, []string{"BackfillFailed", "BackfillSkipped"}},
		}},
		"admission does nothing": {subsetConfig, []string{reviews, plainRule}, func(_ *testing.T, b *bed) {
			b.AdmitBy(func(*unstructured.Unstructured) error { return nil })
		}, []step{
			{"it is tried ever more slowly, as is the Service", nothing, time.Minute,
				[]string{"0s " + patchRule, "1s " + patchRule, "3s " + patchRule, "7s " + patchRule, "15s " + patchRule, "31s " + patchRule}, []string{"BackfillUndone", "BackfillUndone"}},
			{"it does", func(_ *testing.T, b *bed) { b.AdmitBy(nil) }, time.Minute, []string{"1m3s " + patchRule}, nil},
		}},
		"a write fails for a while": {subsetConfig, []string{reviews, plainRule}, func(_ *testing.T, b *bed) {
			b.FailBy(func(string, client.Object) error { return errors.New("no") })
		}, []step{
			{"nothing is told", nothing, 2 * time.Second, nil, nil},
			{"it does not", func(_ *testing.T, b *bed) { b.FailBy(nil) }, time.Minute, []string{"3s " + patchRule}, nil},
			{"it fails again", func(t *testing.T, b *bed) {
				t.Helper()
				b.FailBy(func(string, client.Object) error { return errors.New("no") })
				b.Put(t, strings.Replace(plainRule, "host: reviews", "host: reviews, trafficPolicy: {}", 1))
			}, 500 * time.Millisecond, nil, nil},
			{"for less than a second", func(_ *testing.T, b *bed) { b.FailBy(nil) }, time.Minute, []string{"1m3s " + patchRule}, nil},
		}},
		"an object is gone by then": {subsetConfig, []string{reviews, plainRule}, func(t *testing.T, b *bed) {
			t.Helper()
			b.FailBy(func(string, client.Object) error {
				b.FailBy(nil)
				b.Remove(t, fakecluster.Kinds().Rule, "shop", "users")
				return apierrors.NewNotFound(schema.GroupResource{}, "users")
			})
		}, []step{{"that is fine", nothing, time.Hour, nil, nil}}},
		"an object is written past admission": {subsetConfig, []string{reviews}, nil, []step{
			{"nothing", nothing, time.Minute, nil, nil},
			{"it comes", func(t *testing.T, b *bed) { t.Helper(); b.Put(t, plainRule) }, time.Minute, []string{"1m0s " + patchRule}, nil},
			{"it goes", func(t *testing.T, b *bed) {
				t.Helper()
				b.Remove(t, fakecluster.Kinds().Rule, "shop", "users")
			}, time.Minute, nil, nil},
		}},
		"an exempt Namespace": {subsetConfig + "scope: {exemptNamespaces: [shop]}\n", []string{reviews, plainRule, plainRoute}, nil, []step{
			{"is left alone", nothing, time.Hour, nil, nil},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := &bed{Cluster: fakecluster.New(t, test.config, append([]string{shop}, test.objects...)...)}
				if test.before != nil {
					test.before(t, b)
				}
				b.run(t)
				for _, step := range test.steps {
					step.change(t, b)
					time.Sleep(step.wait)
					synctest.Wait()
					writes := slices.DeleteFunc(b.Writes(), func(write string) bool { return strings.Contains(write, " Service ") })
					if len(writes) == 0 {
						writes = nil
					}
					if diff := cmp.Diff(step.writes, writes); diff != "" {
						t.Errorf("%s: writes (-want +got):\n%s", step.name, diff)
					}
					events := b.Events()
					slices.Sort(events)
					if diff := cmp.Diff(step.events, events); diff != "" {
						t.Errorf("%s: Events (-want +got):\n%s", step.name, diff)
					}
				}
			})
		})
	}
}

// TestMeanwhile: an object that has changed since it was looked at is looked at again before it is written: this one now
// leads to a Service whose companion comes first.
func TestMeanwhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &bed{Cluster: fakecluster.New(t, subsetConfig, shop, reviews, strings.Replace(reviews, "name: reviews", "name: ratings", 1), plainRule, plainRoute)}
		b.FailBy(func(string, client.Object) error {
			b.FailBy(nil)
			b.Put(t, strings.Replace(plainRoute, "destination: {host: reviews}", "destination: {host: ratings}", 1))
			return nil
		})
		b.run(t)
		time.Sleep(time.Minute)
		synctest.Wait()
		writes := slices.DeleteFunc(b.Writes(), func(write string) bool { return strings.Contains(write, " Service ") })
		if diff := cmp.Diff([]string{"0s " + patchRule}, writes); diff != "" {
			t.Errorf("writes (-want +got):\n%s", diff)
		}
	})
}

// TestGone: what is deleted while it waits waits no more.
func TestGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := start(t, subsetConfig, reviews, plainRoute)
		time.Sleep(time.Minute)
		pending := func() float64 { return testutil.ToFloat64(b.Metrics.Backfill.WithLabelValues(backfill.Pending)) }
		if got := pending(); got != 1 {
			t.Errorf("%v wait for the companion, want 1", got)
		}
		b.Remove(t, fakecluster.Kinds().Route, "shop", "users")
		time.Sleep(time.Minute)
		if got := pending(); got != 0 {
			t.Errorf("%v wait although there are none", got)
		}
	})
}

// TestQueue: what tightens does not wait for what only labels, nor a small change for a large one.
func TestQueue(t *testing.T) {
	t.Parallel()
	const large = 2000
	rule := func(namespace string, n int) string {
		return fmt.Sprintf("{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: r%[1]d, namespace: %[2]s}, spec: {host: s%[1]d}}", n, namespace)
	}
	for name, test := range map[string]struct{ rules, services int }{
		"while Services are labelled": {0, large},
		"while rules are written":     {large, large},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := start(t, subsetConfig, "{apiVersion: v1, kind: Namespace, metadata: {name: large}}")
				synctest.Wait()
				for n := range test.services {
					b.Index.SetService(hostname.Host{Namespace: "large", Name: fmt.Sprint("s", n)}, nil)
				}
				for n := range test.rules {
					b.Put(t, rule("large", n))
				}
				for n := range 10 {
					b.Put(t, fmt.Sprintf("{apiVersion: v1, kind: Service, metadata: {name: s%d, namespace: shop}}", n))
					b.Put(t, rule("shop", n))
				}
				fence := func(namespace string) {
					b.Put(t, fmt.Sprintf("{apiVersion: v1, kind: Namespace, metadata: {name: %s, labels: {meshfence.io/fence: strict}}}", namespace))
				}
				fence("large")
				time.Sleep(20 * time.Second)
				b.Writes()
				fence("shop")
				time.Sleep(2 * time.Second)
				synctest.Wait()
				writes := b.Writes()
				small := slices.DeleteFunc(slices.Clone(writes), func(write string) bool { return !strings.Contains(write, "DestinationRule shop/") })
				if len(small) != 10 || len(writes) > 3*rate {
					t.Errorf("%d of 10 rules were written, among %d objects: %v", len(small), len(writes), writes)
				}
			})
		})
	}
}

// TestServices: the Services of what a change touches get their label, and no others are read.
func TestServices(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(t *testing.T, b *bed)
		want   []string
	}{
		"everything": {func(t *testing.T, b *bed) {
			t.Helper()
			b.Index.SetConfig(fakecluster.Config(t, "controlPlane: {clusters: [m1c1]}\nholds: [meshConfig]\nscope: {default: strict}\n"))
		}, []string{"other/a", "shop/a", "shop/b"}},
		"a Namespace": {func(t *testing.T, b *bed) {
			t.Helper()
			b.Put(t, "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {meshfence.io/fence: strict}}}")
		}, []string{"shop/a", "shop/b"}},
		"a Service": {func(t *testing.T, b *bed) {
			t.Helper()
			b.Put(t, "{apiVersion: v1, kind: Service, metadata: {name: a, namespace: shop, annotations: {meshfence.io/fence: prefer}}}")
		}, []string{"shop/a"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := start(t, meshConfig, "{apiVersion: v1, kind: Namespace, metadata: {name: other}}",
					"{apiVersion: v1, kind: Service, metadata: {name: a, namespace: shop}}", "{apiVersion: v1, kind: Service, metadata: {name: b, namespace: shop}}",
					"{apiVersion: v1, kind: Service, metadata: {name: a, namespace: other}}")
				time.Sleep(time.Minute)
				test.change(t, b)
				time.Sleep(time.Minute)
				synctest.Wait()
				var got []string
				for _, write := range b.Writes() {
					got = append(got, write[strings.LastIndex(write, " ")+1:])
				}
				slices.Sort(got)
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("labelled (-want +got):\n%s", diff)
				}
			})
		})
	}
}
