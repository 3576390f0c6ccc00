package audit_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/controller/audit"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
	"github.com/meshfence/meshfence/test/fakecluster"
)

const (
	strictConfig = "controlPlane: {clusters: [m1c1]}\nholds: [meshConfig]\n"
	shop         = "{apiVersion: v1, kind: Namespace, metadata: {name: shop}}"
	reviews      = "{apiVersion: v1, kind: Service, metadata: {name: reviews, namespace: shop, annotations: {meshfence.io/fence: strict}}, spec: {selector: {app: reviews}, ports: [{name: http, port: 80}]}}"
	loose        = "{apiVersion: v1, kind: Service, metadata: {name: reviews, namespace: shop}, spec: {selector: {app: reviews}, ports: [{name: http, port: 80}]}}"
	// leaky sends what is for reviews to another host.
	leaky = "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: users, namespace: shop, uid: u1}, " +
		"spec: {hosts: [reviews], http: [{route: [{destination: {host: elsewhere.example}}]}]}}"
	sound = "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: users, namespace: shop, uid: u1}, " +
		"spec: {hosts: [reviews], http: [{route: [{destination: {host: reviews}}]}]}}"
)

const (
	far        = "{apiVersion: v1, kind: Namespace, metadata: {name: far}}"
	farService = "{apiVersion: v1, kind: Service, metadata: {name: ratings, namespace: far}, spec: {selector: {app: ratings}, ports: [{name: http, port: 80}]}}"
)

// run runs a part of the controller until the test ends, and returns when it rests.
func run(t *testing.T, part func(context.Context) error) {
	t.Helper()
	fakecluster.Run(t, part)
	synctest.Wait()
}

// TestRun: what leaks is told of once, when it is found first, for each term of leadership, and counted for as long as it
// is there.
func TestRun(t *testing.T) {
	t.Parallel()
	type step struct {
		name   string
		change func(t *testing.T, c *fakecluster.Cluster, live *fakecluster.Reader)
		wait   time.Duration
		events []string
		counts string
	}
	put := func(text string) func(*testing.T, *fakecluster.Cluster, *fakecluster.Reader) {
		return func(t *testing.T, c *fakecluster.Cluster, _ *fakecluster.Reader) { t.Helper(); c.Put(t, text) }
	}
	nothing := func(*testing.T, *fakecluster.Cluster, *fakecluster.Reader) {}
	const found = "virtualservice-foreign-host denied 1, "
	for name, test := range map[string]struct {
		config  string
		objects []string
		steps   []step
	}{
		"a leak is found at the start": {strictConfig, []string{reviews, leaky}, []step{
			{"told", nothing, time.Second, []string{"Leak", "NoLocalEndpoint"}, found},
			{"and not again, as nothing changes", nothing, 3 * time.Hour, nil, found},
			{"it is fixed", put(sound), time.Second, nil, ""},
			{"it comes back", put(leaky), time.Second, []string{"Leak"}, found},
			{"it goes", func(t *testing.T, c *fakecluster.Cluster, _ *fakecluster.Reader) {
				t.Helper()
				c.Remove(t, fakecluster.Kinds().Route, "shop", "users")
			}, time.Second, nil, ""},
		}},
		"a Service becomes strict": {strictConfig, []string{loose, leaky}, []step{
			{"nothing leaks", nothing, time.Second, nil, ""},
			{"now it does", put(reviews), time.Second, []string{"Leak"}, found},
			{"and now it does not", put(loose), time.Second, nil, ""},
		}},
		"the config changes": {strictConfig, []string{loose, leaky}, []step{
			{"nothing leaks", nothing, time.Second, nil, ""},
			{"strict by default", func(t *testing.T, c *fakecluster.Cluster, _ *fakecluster.Reader) {
				t.Helper()
				c.Index.SetConfig(fakecluster.Config(t, strictConfig+"scope: {default: strict}\n"))
			}, time.Second, []string{"Leak", "NoLocalEndpoint"}, found},
		}},
		"the Namespace changes": {strictConfig, []string{loose, leaky, far, farService}, []step{
			{"nothing leaks", nothing, time.Second, nil, ""},
			{"it is strict", put(strings.Replace(shop, "name: shop", "name: shop, labels: {meshfence.io/fence: strict}", 1)), time.Second, []string{"NoLocalEndpoint", "Leak"}, found},
			{"and another too", put(strings.Replace(far, "name: far", "name: far, labels: {meshfence.io/fence: strict}", 1)), time.Second, []string{"NoLocalEndpoint"}, found},
			{"it is not", put(shop), time.Second, nil, ""},
			{"nothing changes", nothing, 3 * time.Hour, nil, ""},
		}},
		"a Service leaks itself": {strictConfig, []string{reviews}, []step{
			{"not yet", nothing, time.Second, []string{"NoLocalEndpoint"}, ""},
			{"an external name", put("{apiVersion: v1, kind: Service, metadata: {name: reviews, namespace: shop, annotations: {meshfence.io/fence: strict}}, spec: {type: ExternalName, externalName: elsewhere.example}}"),
				time.Second, []string{"Leak"}, "service-external-name denied 1, "},
			{"it goes", func(t *testing.T, c *fakecluster.Cluster, _ *fakecluster.Reader) {
				t.Helper()
				c.Remove(t, corev1.SchemeGroupVersion.WithKind(object.KindService), "shop", "reviews")
			}, time.Second, nil, ""},
		}},
		"nothing can be read for a while": {strictConfig, []string{reviews, leaky}, []step{
			{"told", nothing, time.Second, []string{"Leak", "NoLocalEndpoint"}, found},
			{"a Service changes", func(t *testing.T, c *fakecluster.Cluster, live *fakecluster.Reader) {
				t.Helper()
				live.Set(errors.New("no"))
				c.Put(t, loose)
				c.Put(t, reviews)
			}, time.Second, nil, found},
			{"it can be read", func(_ *testing.T, _ *fakecluster.Cluster, live *fakecluster.Reader) { live.Set(nil) }, time.Minute, nil, found},
		}},
		"an exemption": {strictConfig + "exemptions: [{rule: virtualservice-foreign-host, namespace: shop, reason: known, until: 2000-01-05}]\n", []string{reviews, leaky}, []step{
			{"ends soon", nothing, time.Second, []string{"ExemptionEnds", "NoLocalEndpoint"}, "virtualservice-foreign-host exempted 1, "},
			{"is told of once", nothing, 3 * time.Hour, nil, "virtualservice-foreign-host exempted 1, "},
			{"is over", nothing, 120 * time.Hour, []string{"Leak"}, found},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := fakecluster.New(t, test.config, append([]string{shop}, test.objects...)...)
				live := &fakecluster.Reader{Reader: c.Client}
				run(t, audit.New(audit.Options{
					Auditor: audit.Auditor{Index: c.Index, Guard: leak.NewGuard(leak.Rules()), Reader: live, Now: time.Now},
					Mapper:  c.Client.RESTMapper(), Recorder: c.Recorder, Metrics: c.Metrics, Resync: time.Hour,
				}).Run)
				for _, step := range test.steps {
					step.change(t, c, live)
					time.Sleep(step.wait)
					synctest.Wait()
					if diff := cmp.Diff(step.events, c.Events()); diff != "" {
						t.Errorf("%s: Events (-want +got):\n%s", step.name, diff)
					}
					if diff := cmp.Diff(step.counts, counts(t, c)); diff != "" {
						t.Errorf("%s: counts (-want +got):\n%s", step.name, diff)
					}
				}
			})
		})
	}
}

// spy notes what is read, and in which Namespace.
type spy struct {
	client.Reader

	reads []string
}

func (s *spy) Get(ctx context.Context, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
	s.reads = append(s.reads, fmt.Sprintf("get %T %s", o, key))
	return s.Reader.Get(ctx, key, o, options...)
}

func (s *spy) List(ctx context.Context, list client.ObjectList, options ...client.ListOption) error {
	var of client.ListOptions
	of.ApplyOptions(options)
	s.reads = append(s.reads, fmt.Sprintf("list %T %s", list, of.Namespace))
	return s.Reader.List(ctx, list, options...)
}

// TestReads: a look at a change reads what it touches, by lists where that is much.
func TestReads(t *testing.T) {
	t.Parallel()
	strict := func(i int) string { return strings.ReplaceAll(reviews, "reviews", fmt.Sprint("reviews-", i)) }
	whole := []string{"get *v1.Namespace /shop", "list *v1.EndpointSliceList shop", "list *v1.PodList shop", "list *v1.ServiceList shop"}
	for name, test := range map[string]struct {
		change func(t *testing.T, c *fakecluster.Cluster)
		want   []string
	}{
		"a Service that asks for nothing": {func(t *testing.T, c *fakecluster.Cluster) { t.Helper(); c.Put(t, loose) }, nil},
		"a strict Service":                {func(t *testing.T, c *fakecluster.Cluster) { t.Helper(); c.Put(t, reviews) }, []string{"get *v1.Service shop/reviews"}},
		"many of them": {func(t *testing.T, c *fakecluster.Cluster) {
			t.Helper()
			for i := range 100 {
				c.Put(t, strict(i))
			}
		}, whole},
		"a Namespace": {func(t *testing.T, c *fakecluster.Cluster) {
			t.Helper()
			c.Put(t, strings.Replace(shop, "name: shop", "name: shop, labels: {meshfence.io/fence: strict}", 1))
		}, whole},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := fakecluster.New(t, strictConfig, shop, far, farService)
				live := &spy{Reader: c.Client}
				run(t, audit.New(audit.Options{
					Auditor: audit.Auditor{Index: c.Index, Guard: leak.NewGuard(leak.Rules()), Reader: live, Now: time.Now},
					Mapper:  c.Client.RESTMapper(), Recorder: c.Recorder, Metrics: c.Metrics, Resync: time.Hour,
				}).Run)
				time.Sleep(time.Minute)
				synctest.Wait()
				live.reads = nil
				test.change(t, c)
				time.Sleep(time.Minute)
				synctest.Wait()
				slices.Sort(live.reads)
				if diff := cmp.Diff(test.want, slices.Compact(live.reads)); diff != "" {
					t.Errorf("reads (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// counts returns the gauge of findings.
func counts(t *testing.T, c *fakecluster.Cluster) string {
	t.Helper()
	families, err := c.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	text := ""
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "meshfence_existing_findings" {
				text += fmt.Sprintf("%s %s %v, ", m.GetLabel()[1].GetValue(), m.GetLabel()[0].GetValue(), m.GetGauge().GetValue())
			}
		}
	}
	return text
}

// TestUnheldRun: strict Services that nothing holds are told of after a while, and those that lose what holds them.
func TestUnheldRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := fakecluster.New(t, "controlPlane: {clusters: [m1c1]}\nholds: [subset]\n", shop, reviews)
		run(t, audit.NewUnheld(c.Index, c.Recorder, c.Metrics).Run)
		for _, step := range []struct {
			name   string
			change func()
			wait   time.Duration
			want   []string
		}{
			{"not yet", func() {}, 9 * time.Second, nil},
			{"now", func() {}, 2 * time.Second, []string{"NotHeld"}},
			{"and not again", func() {}, time.Hour, nil},
			{"not fenced any more", func() { c.Put(t, loose) }, time.Minute, nil},
			{"strict again", func() { c.Put(t, reviews) }, time.Minute, []string{"NotHeld"}},
		} {
			step.change()
			time.Sleep(step.wait)
			synctest.Wait()
			if diff := cmp.Diff(step.want, c.Events()); diff != "" {
				t.Errorf("%s: Events (-want +got):\n%s", step.name, diff)
			}
		}
	})
}

// TestLost: a Service that loses its fence because its annotation is taken away is told of, however short it had it, and
// nothing else that happens to Services is.
func TestLost(t *testing.T) {
	t.Parallel()
	owned := "{apiVersion: v1, kind: Service, metadata: {name: reviews, namespace: shop, ownerReferences: [{apiVersion: a/v1, kind: Rollout, name: r, uid: u, controller: true}]}}"
	for name, test := range map[string]struct {
		objects []string
		change  func(t *testing.T, c *fakecluster.Cluster, live *fakecluster.Reader)
		want    []string
	}{
		"the annotation goes": {[]string{reviews}, func(t *testing.T, c *fakecluster.Cluster, _ *fakecluster.Reader) { t.Helper(); c.Put(t, loose) },
			[]string{"Warning FenceLost an update took the annotation meshfence.io/fence: strict away, and the fence is now none (config scope.default)"}},
		"its owner takes it away": {[]string{reviews}, func(t *testing.T, c *fakecluster.Cluster, _ *fakecluster.Reader) { t.Helper(); c.Put(t, owned) },
			[]string{"Warning FenceLost an update took the annotation meshfence.io/fence: strict away, and the fence is now none (config scope.default); " +
				"the controller of Rollout r keeps this Service: label the namespace, or name the Service in scope.services of the FenceConfig"}},
		"it was there for a moment": {[]string{loose}, func(t *testing.T, c *fakecluster.Cluster, _ *fakecluster.Reader) {
			t.Helper()
			c.Put(t, reviews)
			c.Put(t, loose)
		}, []string{"Warning FenceLost an update took the annotation meshfence.io/fence: strict away, and the fence is now none (config scope.default)"}},
		"it was away for a moment": {[]string{reviews}, func(t *testing.T, c *fakecluster.Cluster, _ *fakecluster.Reader) {
			t.Helper()
			c.Put(t, loose)
			c.Put(t, reviews)
		}, nil},
		"the Service goes": {[]string{reviews}, func(t *testing.T, c *fakecluster.Cluster, _ *fakecluster.Reader) {
			t.Helper()
			c.Remove(t, corev1.SchemeGroupVersion.WithKind(object.KindService), "shop", "reviews")
		}, nil},
		"the Namespace is as strict": {[]string{reviews}, func(t *testing.T, c *fakecluster.Cluster, _ *fakecluster.Reader) {
			t.Helper()
			c.Put(t, "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {meshfence.io/fence: strict}}}")
			c.Put(t, loose)
		}, nil},
		"it cannot be read": {[]string{reviews}, func(t *testing.T, c *fakecluster.Cluster, live *fakecluster.Reader) {
			t.Helper()
			live.Set(errors.New("no"))
			c.Put(t, loose)
		}, nil},
		"it never had one": {[]string{loose}, func(t *testing.T, c *fakecluster.Cluster, _ *fakecluster.Reader) { t.Helper(); c.Put(t, loose) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := fakecluster.New(t, strictConfig, append([]string{shop}, test.objects...)...)
				live := &fakecluster.Reader{Reader: c.Client}
				run(t, audit.NewLost(c.Index, live, c.Recorder).Run)
				test.change(t, c, live)
				time.Sleep(time.Minute)
				synctest.Wait()
				var got []string
				for len(c.Recorder.Events) > 0 {
					got = append(got, <-c.Recorder.Events)
				}
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("Events (-want +got):\n%s", diff)
				}
			})
		})
	}
}
