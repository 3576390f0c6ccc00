package cluster_test

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/cluster"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/meshconfig"
	"github.com/meshfence/meshfence/policy/object"
)

// byMesh is a FenceConfig that needs mesh ConfigMaps.
func byMesh(names string) string {
	return strings.Replace(strings.Replace(fenced, "holds: [subset]", "holds: [meshConfig, subset]", 1),
		"[m1c1]", "[m1c1], meshConfigMaps: ["+names+"]", 1)
}

func meshMap(name, text string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "istio-system", Name: name, UID: "1"},
		Data:       map[string]string{meshconfig.Key: text},
	}
}

// clusterLocal is a mesh config that keeps hosts in the cluster.
func clusterLocal(hosts ...string) string {
	return fmt.Sprintf("serviceSettings:\n- settings: {clusterLocal: true}\n  hosts: ['%s']\n", strings.Join(hosts, "', '"))
}

// active returns the active holds, and the state of meshConfig.
func (w *watched) active() string {
	config := w.index.Config()
	return config.Active().String() + "; " + config.Fault(policy.MeshConfig).State()
}

// holdActive returns the gauge of a hold.
func (w *watched) holdActive(t *testing.T, hold string) float64 {
	t.Helper()
	families, err := w.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "meshfence_hold_active" && m.GetLabel()[0].GetValue() == hold {
				return m.GetGauge().GetValue()
			}
		}
	}
	return -1
}

func TestStateWeighsMeshConfigMaps(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		maps := map[string]*fickleSource{"istio": newFickleSource(t), "istio-canary": newFickleSource(t)}
		w := newWatchedWith(t, byMesh("istio"), cluster.Options{
			MeshConfigMaps: func(key client.ObjectKey) toolscache.ListerWatcher { return maps[key.Name] },
		})
		configs, istio, services := w.sources[object.KindConfigMap], maps["istio"], w.sources[object.KindService]
		configs.Add(fenceConfig(byMesh("istio")))
		w.sources[object.KindNamespace].Add(namespace("shop", map[string]string{policy.FenceKey: "none"}))
		services.Add(reviews(map[string]string{policy.FenceKey: "strict"}))
		const host = "reviews.shop.svc.cluster.local"
		istio.Add(meshMap("istio", clusterLocal(host)))
		if w.Synced() {
			t.Error("synced before the mesh ConfigMap is read")
		}
		w.runAll(t)
		time.Sleep(time.Second)
		synctest.Wait()
		if !w.Synced() {
			t.Error("not synced with the mesh ConfigMap")
		}
		var changes atomic.Int32
		w.index.Subscribe(func(c policy.Change) {
			if c == (policy.Change{}) {
				changes.Add(1)
			}
		})
		const (
			both, alone = "meshConfig, subset; true", "subset; "
			named       = "Warning HoldNotActive hold meshConfig is named and not active, because it is "
			again       = "Normal HoldActive hold meshConfig is active again, or not named any more"
			lacks       = "ConfigMap istio-system/istio lacks clusterLocal entries of strict hosts"
			soon        = 400 * time.Millisecond
		)
		steps := []struct {
			name    string
			change  func()
			wait    time.Duration
			active  string
			event   string
			changes int32 // each is told once more when every replica must have seen it
		}{
			{"at the start", func() {}, soon, both, "", 0},
			{"it is deleted", func() { istio.Delete(meshMap("istio", "")) }, soon, alone + "broken", named + "broken: ConfigMap istio-system/istio does not exist", 1},
			{"it stays away", func() {}, time.Minute, alone + "broken", "", 1},
			{"it is back", func() { istio.Add(meshMap("istio", clusterLocal(host))) }, soon, both, again, 1},
			{"the entry goes", func() { istio.Modify(meshMap("istio", "a: b")) }, 9 * time.Second, both, "", 1},
			{"the entry stays away", func() {}, 3 * time.Second, alone + "behind", named + "behind: " + lacks, 1},
			{"another host lacks too", func() {
				other := reviews(map[string]string{policy.FenceKey: "strict"})
				other.Name = "ratings"
				services.Add(other)
			}, time.Minute, alone + "behind", "", 1},
			{"all are back", func() { istio.Modify(meshMap("istio", clusterLocal("*.shop.svc.cluster.local"))) }, soon, both, again, 1},
			{"the entry goes for a moment", func() { istio.Modify(meshMap("istio", "a: b")) }, 9 * time.Second, both, "", 1},
			{"and is back in time", func() { istio.Modify(meshMap("istio", clusterLocal("*.shop.svc.cluster.local"))) }, time.Minute, both, "", 0},
			{"a form that cannot be edited", func() {
				istio.Modify(meshMap("istio", "x: &s\n- settings: {clusterLocal: true}\n  hosts: [a]\nserviceSettings: *s\n"))
			}, soon, alone + "broken", named + "broken: " + lacks + ", and nobody but you can add them: ", 1},
			{"a form that cannot be read", func() { istio.Modify(meshMap("istio", "a: b\n---\na: b\n")) }, soon, alone + "broken",
				named + "broken: ConfigMap istio-system/istio cannot be read by meshfence: mesh config line 2: must be one YAML document", 1},
			{"it is well again", func() { istio.Modify(meshMap("istio", clusterLocal("*.svc.cluster.local"))) }, soon, both, again, 1},
			{"no right for a moment", func() { istio.refuse(forbidden()) }, 3 * time.Second, both, "", 0},
			{"a right after it", func() { istio.refuse(nil) }, 3 * time.Minute, both, "", 1},
			{"no right", func() { istio.refuse(forbidden()) }, time.Minute, alone + "broken", named + "broken: ConfigMap istio-system/istio cannot be read: nodes is forbidden: no right", 2},
			{"a right again", func() { istio.refuse(nil) }, 3 * time.Minute, both, again, 2},
			{"no answer", func() { istio.refuse(errors.New("connection refused")) }, 30 * time.Second, both, "", 0},
			{"no answer for long", func() {}, time.Minute, alone + "broken", named + "broken: ConfigMap istio-system/istio cannot be read: connection refused", 2},
			{"an answer", func() { istio.refuse(nil) }, 3 * time.Minute, both, again, 2},
			{"a revision is named that has no ConfigMap", func() { configs.Modify(fenceConfig(byMesh("istio, istio-canary"))) }, time.Minute, alone + "broken",
				named + "broken: ConfigMap istio-system/istio-canary does not exist", 2},
			{"it has one", func() { maps["istio-canary"].Add(meshMap("istio-canary", clusterLocal("*.shop.svc.cluster.local"))) }, time.Minute, both, again, 2},
			{"the hold is not named", func() { configs.Modify(fenceConfig(fenced)) }, time.Minute, "subset; true", "", 1},
			{"it is deleted and not named", func() { istio.Delete(meshMap("istio", "")) }, time.Minute, "subset; true", "", 0},
			{"it is named and not there", func() { configs.Modify(fenceConfig(byMesh("istio"))) }, time.Minute, alone + "broken", named + "broken: ConfigMap istio-system/istio does not exist", 2},
		}
		for _, step := range steps {
			changes.Store(0)
			step.change()
			synctest.Wait()
			time.Sleep(step.wait)
			synctest.Wait()
			if got := w.active(); got != step.active {
				t.Errorf("%s: %s, want %s", step.name, got, step.active)
			}
			if got := w.event(); !strings.HasPrefix(got, step.event) || step.event == "" && got != "" {
				t.Errorf("%s: event %q, want %q", step.name, got, step.event)
			}
			if got := changes.Load(); got != step.changes {
				t.Errorf("%s: %d changes, want %d", step.name, got, step.changes)
			}
			want := map[string]float64{"meshConfig": 0, "subset": 1}
			if strings.HasPrefix(step.active, "meshConfig") {
				want["meshConfig"] = 1
			} else if step.active == "subset; true" {
				want["meshConfig"] = -1
			}
			for hold, value := range want {
				if got := w.holdActive(t, hold); got != value {
					t.Errorf("%s: hold %s is %v, want %v", step.name, hold, got, value)
				}
			}
		}
	})
}

// TestStateReadsIngressMode: which Ingresses istiod reads comes from the mesh ConfigMaps, also where no hold needs them.
func TestStateReadsIngressMode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		istio := newFickleSource(t)
		w := newWatchedWith(t, fenced, cluster.Options{MeshConfigMaps: func(client.ObjectKey) toolscache.ListerWatcher { return istio }})
		w.sources[object.KindConfigMap].Add(fenceConfig(fenced))
		w.sources[object.KindNamespace].Add(namespace("shop", nil))
		w.runAll(t)
		usual := policy.DefaultIngressReading()
		for _, step := range []struct {
			name   string
			change func()
			want   *policy.IngressReading
		}{
			{"without a mesh ConfigMap", func() {}, &usual},
			{"one that says nothing", func() { istio.Add(meshMap("istio", "{}")) }, &usual},
			{"every Ingress", func() { istio.Modify(meshMap("istio", "ingressControllerMode: DEFAULT\n")) },
				&policy.IngressReading{Classes: []string{"istio"}, Classless: true}},
			{"another class", func() { istio.Modify(meshMap("istio", "ingress_class: edge\ningressControllerMode: STRICT\n")) },
				&policy.IngressReading{Classes: []string{"edge"}}},
			{"what cannot be read", func() { istio.Modify(meshMap("istio", "[")) }, nil},
			{"no right", func() { istio.refuse(forbidden()) }, nil},
		} {
			step.change()
			time.Sleep(time.Minute)
			synctest.Wait()
			if got := w.index.Config().IngressReading(); !got.SameAs(step.want) {
				t.Errorf("%s: %+v, want %+v", step.name, got, step.want)
			}
			if got := w.active(); got != "subset; true" || !w.Synced() {
				t.Errorf("%s: %s, synced %t", step.name, got, w.Synced())
			}
		}
	})
}

// TestStateTakesItsTimePerHost: a mesh ConfigMap that is always a little behind, because Services come all the time,
// is not behind.
func TestStateTakesItsTimePerHost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		istio := newFickleSource(t)
		w := newWatchedWith(t, byMesh("istio"), cluster.Options{MeshConfigMaps: func(client.ObjectKey) toolscache.ListerWatcher { return istio }})
		w.sources[object.KindConfigMap].Add(fenceConfig(byMesh("istio")))
		w.sources[object.KindNamespace].Add(namespace("shop", map[string]string{policy.FenceKey: "none"}))
		istio.Add(meshMap("istio", "{}"))
		w.runAll(t)
		var hosts []string
		for i := range 20 {
			s := reviews(map[string]string{policy.FenceKey: "strict"})
			s.Name = fmt.Sprint("s", i)
			w.sources[object.KindService].Add(s)
			time.Sleep(3 * time.Second)
			synctest.Wait()
			if got := w.active(); got != "meshConfig, subset; true" {
				t.Fatalf("after %d Services: %s", i, got)
			}
			istio.Modify(meshMap("istio", clusterLocal(append(hosts, "other.shop.svc.cluster.local")...)))
			hosts = append(hosts, s.Name+".shop.svc.cluster.local")
		}
	})
}
