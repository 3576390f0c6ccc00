package cluster_test

import (
	"context"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	fcache "k8s.io/client-go/tools/cache/testing"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/cluster"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
)

const install = "meshfence-system"

// fenced fences namespace shop, where a Service reviews is; default/web is not fenced.
const fenced = `
apiVersion: config.meshfence.io/v1alpha1
kind: FenceConfig
controlPlane: {clusters: [m1c1]}
holds: [subset]
scope: {namespaces: [{name: shop, fence: strict}]}
`

// informers are real informers on sources that a test fills.
type informers struct {
	cache.Informers

	sources map[string]*fcache.FakeControllerSource
	started []toolscache.SharedIndexInformer
}

func (i *informers) GetInformer(_ context.Context, obj client.Object, _ ...cache.InformerGetOption) (cache.Informer, error) {
	kind := obj.GetObjectKind().GroupVersionKind().Kind
	switch obj.(type) {
	case *corev1.ConfigMap:
		kind = object.KindConfigMap
	case *corev1.Service:
		kind = object.KindService
	}
	informer := toolscache.NewSharedIndexInformer(i.sources[kind], obj, 0, nil)
	for cached, by := range cluster.CacheOptions(install).ByObject {
		if reflect.TypeOf(cached) == reflect.TypeOf(obj) {
			if err := informer.SetTransform(by.Transform); err != nil {
				return nil, err
			}
		}
	}
	i.started = append(i.started, informer)
	return informer, nil
}

// watched is a state on such informers.
type watched struct {
	*cluster.State
	*informers
	index    *policy.Index
	registry *prometheus.Registry
	recorder *events.FakeRecorder
}

func newWatched(t *testing.T) *watched {
	t.Helper()
	return newWatchedWith(t, fenced, cluster.Options{})
}

// newWatchedWith has another FenceConfig, and the sources of the options.
func newWatchedWith(t *testing.T, text string, o cluster.Options) *watched {
	t.Helper()
	w := &watched{
		informers: &informers{sources: map[string]*fcache.FakeControllerSource{
			object.KindService: fcache.NewFakeControllerSource(), object.KindNamespace: fcache.NewFakeControllerSource(),
			object.KindConfigMap: fcache.NewFakeControllerSource(),
		}},
		registry: prometheus.NewRegistry(),
		recorder: events.NewFakeRecorder(8),
	}
	t.Cleanup(func() {
		for _, source := range w.sources {
			source.Shutdown()
		}
	})
	rules := leak.Rules()
	config, err := policy.ParseConfig(policy.ConfigMapSource(install, leak.IDs(rules)), []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	metrics, err := cluster.NewMetrics(w.registry)
	if err != nil {
		t.Fatal(err)
	}
	w.index = policy.NewIndex(config)
	o.Index, o.Rules, o.InstallNamespace, o.Metrics = w.index, rules, install, metrics
	if w.State, err = cluster.NewState(t.Context(), w.informers, o, w.recorder, logr.Discard()); err != nil {
		t.Fatal(err)
	}
	return w
}

// run starts the informers and waits until they rest. They end with the test.
func (w *watched) run(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	for _, informer := range w.started {
		group.Go(func() { informer.RunWithContext(ctx) })
	}
	t.Cleanup(func() {
		cancel()
		group.Wait()
	})
	synctest.Wait()
}

// fence returns the fence of shop/reviews as the index has it.
func (w *watched) fence(t *testing.T) string {
	t.Helper()
	view := w.index.View()
	match := view.Match("reviews.shop.svc.cluster.local")
	namespaces, services := view.Missing()
	for _, fence := range []policy.Fence{policy.None, policy.Prefer, policy.Strict} {
		if match.Has(fence) {
			return strings.TrimSuffix(fence.String()+strings.Repeat(" namespace missing", len(namespaces))+
				strings.Repeat(" service missing", len(services)), " ")
		}
	}
	return "no match"
}

func namespace(name string, labels map[string]string) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: object.KindNamespace},
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
	}
}

// reviews is the Service shop/reviews.
func reviews(annotations map[string]string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "reviews", Annotations: annotations},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "reviews"}, ClusterIP: "10.96.0.7", Ports: []corev1.ServicePort{{Port: 9080}}},
	}
}

func TestState(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t)
		namespaces, services := w.sources[object.KindNamespace], w.sources[object.KindService]
		namespaces.Add(namespace("shop", nil))
		services.Add(reviews(map[string]string{policy.FenceKey: "prefer"}))
		if w.Synced() || w.Check(nil) == nil {
			t.Error("synced before the informers run")
		}
		w.run(t)
		if err := w.Check(nil); err != nil {
			t.Errorf("not ready: %v", err)
		}
		steps := []struct {
			name   string
			change func()
			want   string
		}{
			{"at the start", func() {}, "prefer"},
			{"the annotation goes", func() { services.Modify(reviews(nil)) }, "strict"},
			{"the label decides", func() {
				namespaces.Modify(namespace("shop", map[string]string{policy.FenceKey: "none"}))
			}, "none"},
			{"the Service goes", func() { services.Delete(reviews(nil)) }, "none service missing"},
			{"the Namespace goes", func() { namespaces.Delete(namespace("shop", nil)) },
				"strict namespace missing service missing"},
		}
		for _, step := range steps {
			step.change()
			synctest.Wait()
			if got := w.fence(t); got != step.want {
				t.Errorf("%s: %s, want %s", step.name, got, step.want)
			}
			want := step.want == "strict" // and there
			if _, selects := w.index.View().StrictSelecting("shop", map[string]string{"app": "reviews"}); selects != want {
				t.Errorf("%s: a strict Service selects the Pods: %t", step.name, selects)
			}
			if _, has := w.index.View().StrictAddress(netip.MustParsePrefix("10.96.0.7/32"), policy.Ports{Numbers: []int64{9080}}); has != want {
				t.Errorf("%s: a strict Service has the address: %t", step.name, has)
			}
		}
	})
}

func TestStateIsNotSyncedWhileOneKindIsMissing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t)
		late := w.started[1]
		w.started = append(w.started[:1:1], w.started[2])
		w.run(t)
		if w.Synced() {
			t.Error("synced without Services")
		}
		w.started = []toolscache.SharedIndexInformer{late}
		w.run(t)
		if !w.Synced() {
			t.Error("not synced with all three")
		}
	})
}

func TestStateReloads(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t)
		configs := w.sources[object.KindConfigMap]
		object := func(text string) *corev1.ConfigMap {
			return &corev1.ConfigMap{
				ObjectMeta: metav1.ObjectMeta{Namespace: install, Name: policy.ConfigMapName},
				Data:       map[string]string{policy.ConfigMapKey: text},
			}
		}
		configs.Add(object(fenced))
		w.run(t)
		bad := strings.Replace(fenced, "strict", "tight", 1)
		labelled := object(bad)
		labelled.Labels = map[string]string{"a": "b"}
		const badEvent = "Warning InvalidFenceConfig ConfigMap meshfence-system/meshfence:6: scope.namespaces[0].fence: " +
			`"tight" must be one of none, prefer, strict`
		steps := []struct {
			name    string
			change  func()
			fence   string
			success float64
			reloads map[string]float64
			event   string
		}{
			{"at the start", func() {}, "strict", 1, map[string]float64{"success": 1}, ""},
			{"a good one", func() { configs.Modify(object(strings.Replace(fenced, "strict", "prefer", 1))) }, "prefer", 1,
				map[string]float64{"success": 2}, ""},
			{"a bad one", func() { configs.Modify(object(bad)) }, "prefer", 0, map[string]float64{"success": 2, "invalid": 1}, badEvent},
			{"the bad one with a label", func() { configs.Modify(labelled) }, "prefer", 0, map[string]float64{"success": 2, "invalid": 1}, ""},
			{"another name", func() {
				other := object(fenced)
				other.Name = "other"
				configs.Add(other)
				configs.Delete(other.DeepCopy())
			}, "prefer", 0, map[string]float64{"success": 2, "invalid": 1}, ""},
			{"none", func() { configs.Delete(object(bad)) }, "prefer", 0, map[string]float64{"success": 2, "invalid": 1, "deleted": 1},
				"Warning FenceConfigDeleted the FenceConfig was deleted; the last good one stays in force, also when meshfence starts again"},
			{"one without the key", func() {
				empty := object("")
				empty.Data = nil
				configs.Add(empty)
			}, "prefer", 0, map[string]float64{"success": 2, "invalid": 2, "deleted": 1},
				"Warning InvalidFenceConfig ConfigMap meshfence-system/meshfence: must have the key config.yaml"},
			{"a good one again", func() { configs.Modify(object(fenced)) }, "strict", 1,
				map[string]float64{"success": 3, "invalid": 2, "deleted": 1}, ""},
		}
		for _, step := range steps {
			step.change()
			synctest.Wait()
			if got, _, _ := strings.Cut(w.fence(t), " "); got != step.fence {
				t.Errorf("%s: fence %s, want %s", step.name, got, step.fence)
			}
			assertReloads(t, w.registry, step.name, step.success, step.reloads)
			var event string
			select {
			case event = <-w.recorder.Events:
			default:
			}
			if event != step.event {
				t.Errorf("%s: event %q, want %q", step.name, event, step.event)
			}
		}
	})
}

func assertReloads(t *testing.T, registry *prometheus.Registry, step string, success float64, reloads map[string]float64) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counted := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			switch f.GetName() {
			case "meshfence_config_last_reload_success":
				if got := m.GetGauge().GetValue(); got != success {
					t.Errorf("%s: last reload success %v, want %v", step, got, success)
				}
			case "meshfence_config_reloads_total":
				counted[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
			}
		}
	}
	if diff := cmp.Diff(reloads, counted); diff != "" {
		t.Errorf("%s: reloads (-want +got):\n%s", step, diff)
	}
	if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) > 0 {
		t.Errorf("metrics: %v %v", problems, err)
	}
}

func TestCacheKeepsLittle(t *testing.T) {
	t.Parallel()
	full := metav1.ObjectMeta{
		Namespace: "shop", Name: "reviews", UID: "1", ResourceVersion: "7", Generation: 3,
		Labels:        map[string]string{"team": "a"},
		Annotations:   map[string]string{policy.FenceKey: "strict", "kubectl.kubernetes.io/last-applied-configuration": "{}"},
		ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl"}},
		Finalizers:    []string{"x"},
	}
	wants := map[string]metav1.ObjectMeta{
		object.KindService:   {Namespace: "shop", Name: "reviews", UID: "1", ResourceVersion: "7"},
		object.KindNamespace: {Name: "reviews", UID: "1", ResourceVersion: "7", Labels: full.Labels},
	}
	found := 0
	for obj, by := range cluster.CacheOptions(install).ByObject {
		var kind string
		var listed any
		switch obj.(type) {
		case *corev1.Service:
			kind, listed = object.KindService, &corev1.Service{ObjectMeta: full}
		case *corev1.Namespace:
			kind, listed = object.KindNamespace, &metav1.PartialObjectMetadata{ObjectMeta: full}
		case *corev1.ConfigMap:
			if got := by.Namespaces[install].FieldSelector.String(); got != "metadata.name=meshfence" || len(by.Namespaces) != 1 {
				t.Errorf("ConfigMaps: %v, field selector %s", by.Namespaces, got)
			}
			continue
		}
		found++
		kept, err := by.Transform(listed)
		if err != nil {
			t.Fatal(err)
		}
		got := kept.(metav1.ObjectMetaAccessor).GetObjectMeta()
		if diff := cmp.Diff(any(new(wants[kind])), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", kind, diff)
		}
		whole := &corev1.Namespace{ObjectMeta: full}
		if got, err := by.Transform(whole); err != nil || got != any(whole) {
			t.Errorf("%s: whole objects are changed", kind)
		}
	}
	if found != 2 {
		t.Errorf("%d kinds are stripped, want 2", found)
	}
}

// Of a Service that is in the index the cache keeps nothing but its name, also when it passes it once more.
func TestServicesAreKeptOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t)
		w.sources[object.KindService].Add(reviews(map[string]string{policy.FenceKey: "prefer"}))
		w.run(t)
		if got := w.fence(t); got != "prefer namespace missing" {
			t.Errorf("fence %q", got)
		}
		for _, informer := range w.started {
			for _, kept := range informer.GetStore().List() {
				if cluster.Enter(kept, w.index) {
					t.Error("the cache keeps a Service that is in the index")
				}
			}
		}
	})
}

// A Service that is being deleted has no UID in the index: nothing is to be made for it.
func TestServiceIsBeingDeleted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t)
		going := reviews(nil)
		going.UID = "1"
		w.sources[object.KindService].Add(going.DeepCopy())
		w.run(t)
		host := hostname.Host{Namespace: "shop", Name: "reviews"}
		if got := w.index.View().UID(host); got != "1" {
			t.Errorf("UID %q, want 1", got)
		}
		going.DeletionTimestamp, going.Finalizers = new(metav1.Now()), []string{"a/b"}
		w.sources[object.KindService].Modify(going)
		synctest.Wait()
		if got := w.index.View().UID(host); got != "" {
			t.Errorf("UID %q while it is being deleted", got)
		}
	})
}

// A replica that starts with the last good config says so until there is another one.
func TestStateStartsStale(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWatchedWith(t, fenced, cluster.Options{Stale: errors.New("get FenceConfig: not found; the last good one is in force")})
		w.run(t)
		assertReloads(t, w.registry, "at the start", 0, map[string]float64{"deleted": 1})
		const want = "Warning StaleFenceConfig get FenceConfig: not found; the last good one is in force"
		if event := <-w.recorder.Events; event != want {
			t.Errorf("event %q, want %q", event, want)
		}
		if err := w.Check(nil); err != nil {
			t.Errorf("not ready: %v", err)
		}
		w.sources[object.KindConfigMap].Add(configMapOf("meshfence", strings.Replace(fenced, "strict", "prefer", 1)))
		synctest.Wait()
		assertReloads(t, w.registry, "a good one", 1, map[string]float64{"deleted": 1, "success": 1})
	})
}
