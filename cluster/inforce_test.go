package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	fcache "k8s.io/client-go/tools/cache/testing"

	"github.com/meshfence/meshfence/cluster"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// byNodes is a FenceConfig that needs Nodes, with the localities of other clusters.
func byNodes(others string) string {
	return strings.Replace(fenced, "holds: [subset]", "holds: [locality]\nlocalities: {"+others+"}", 1)
}

// fickleSource is a source of one kind that can refuse to answer.
type fickleSource struct {
	*fcache.FakeControllerSource

	mu      sync.Mutex
	err     error
	watches []*fickleWatch
}

func newFickleSource(t *testing.T) *fickleSource {
	t.Helper()
	s := &fickleSource{FakeControllerSource: fcache.NewFakeControllerSource()}
	t.Cleanup(s.Shutdown)
	return s
}

func (s *fickleSource) List(o metav1.ListOptions) (runtime.Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return nil, s.err
	}
	return s.FakeControllerSource.List(o)
}

func (s *fickleSource) Watch(o metav1.ListOptions) (watch.Interface, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return nil, s.err
	}
	inner, err := s.FakeControllerSource.Watch(o)
	if err != nil {
		return nil, err
	}
	w := &fickleWatch{inner, s}
	s.watches = append(s.watches, w)
	return w, nil
}

// IsWatchListSemanticsUnSupported makes informers list, as the fake source can do nothing else.
func (s *fickleSource) IsWatchListSemanticsUnSupported() bool { return true }

// refuse answers with an error from now on, and ends the watches; nil answers again.
func (s *fickleSource) refuse(err error) {
	s.mu.Lock()
	s.err = err
	running := slices.Clone(s.watches)
	s.mu.Unlock()
	for _, w := range running {
		w.Stop()
	}
}

func (s *fickleSource) watched() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.watches) > 0
}

// fickleWatch is a watch that its source knows to be running.
type fickleWatch struct {
	watch.Interface
	source *fickleSource
}

func (w *fickleWatch) Stop() {
	w.source.mu.Lock()
	w.source.watches = slices.DeleteFunc(w.source.watches, func(other *fickleWatch) bool { return other == w })
	w.source.mu.Unlock()
	w.Interface.Stop()
}

func forbidden() error {
	return apierrors.NewForbidden(schema.GroupResource{Resource: "nodes"}, "", errors.New("no right"))
}

// node returns a Node in region/zone/subzone, any of which may be missing.
func node(name, locality string) *metav1.PartialObjectMetadata {
	labels := map[string]string{"other": name}
	for i, part := range strings.Split(locality, "/") {
		labels[[]string{"topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone"}[i]] = part
	}
	return &metav1.PartialObjectMetadata{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Node"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
	}
}

func fenceConfig(text string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: install, Name: policy.ConfigMapName},
		Data:       map[string]string{policy.ConfigMapKey: text},
	}
}

// runAll starts the state too.
func (w *watched) runAll(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() {
		if err := w.Start(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		group.Wait()
	})
	w.run(t)
}

// shares returns the shares in force, or why there are none.
func (w *watched) shares() string {
	shares, err := w.index.Config().Shares("m1c1")
	if unknown, ok := errors.AsType[*policy.LocalityError](err); ok {
		return unknown.Reason
	}
	return strings.TrimPrefix(fmt.Sprint(shares), "map")
}

func (w *watched) gauge(t *testing.T, name string) float64 {
	t.Helper()
	families, err := w.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("no gauge %s", name)
	return 0
}

// event returns the note of the next Event, without its type and reason.
func (w *watched) event() string {
	select {
	case event := <-w.recorder.Events:
		return strings.TrimPrefix(event, "Warning UnknownLocalities ")
	default:
		return ""
	}
}

func TestStateReadsNodes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		nodes := newFickleSource(t)
		w := newWatchedWith(t, byNodes("m1c2: [r2]"), cluster.Options{Nodes: nodes})
		configs := w.sources[object.KindConfigMap]
		configs.Add(fenceConfig(byNodes("m1c2: [r2]")))
		nodes.Add(node("a", "r1/z1"))
		var changes atomic.Int32
		w.index.Subscribe(func(policy.Change) { changes.Add(1) })
		if w.Synced() {
			t.Error("synced before the Nodes are read")
		}
		w.runAll(t)
		if !w.Synced() {
			t.Error("not synced with the Nodes")
		}
		const (
			prefix = `the localities of cluster "m1c1" are not known: `
			shared = `it has Nodes in "r2/z1/*", which overlaps "r2" of cluster m1c2`
			lost   = "1 of its 2 Nodes have no label topology.kubernetes.io/region"
			kept   = "; the last good ones stay in force"
			none   = "; until they are, hold locality holds nothing new"
			denied = `its Nodes cannot be read: nodes is forbidden: no right`
		)
		steps := []struct {
			name    string
			change  func()
			wait    time.Duration
			shares  string
			event   string
			known   float64
			changes int32 // each is told once more when every replica must have counted
		}{
			{"at the start", func() {}, 0, "[r1/*:100]", "", 1, 0},
			{"health", func() {
				healthy := node("a", "r1/z1")
				healthy.Annotations = map[string]string{"at": "now"}
				nodes.Modify(healthy)
			}, time.Minute, "[r1/*:100]", "", 1, 1},
			{"another zone", func() { nodes.Modify(node("a", "r1/z2")) }, time.Minute, "[r1/*:100]", "", 1, 0},
			{"another region, at once", func() { nodes.Add(node("b", "r3/z1")); nodes.Add(node("c", "r3/z2")) }, 0, "[r1/*:100]", "", 1, 0},
			{"another region, later", func() {}, time.Minute, "[r1/*:33 r3/*:67]", "", 1, 2},
			{"the region of another cluster", func() { nodes.Delete(node("c", "")); nodes.Modify(node("b", "r2/z1")) }, time.Minute,
				"[r1/*:33 r3/*:67]", prefix + shared + kept, 0, 0},
			{"the last good ones are another cluster's", func() { configs.Modify(fenceConfig(byNodes("m1c2: [r2], m1c3: [r3]"))) }, 0,
				shared, prefix + shared + none, 0, 1},
			{"good ones", func() { nodes.Modify(node("b", "r1/z1")) }, time.Minute, "[r1/*:100]", "", 1, 2},
			{"no region", func() { nodes.Modify(node("b", "")) }, time.Minute, "[r1/*:100]", prefix + lost + kept, 0, 0},
			{"a bad config", func() { configs.Modify(fenceConfig("a")) }, 0, "[r1/*:100]",
				"Warning InvalidFenceConfig ConfigMap meshfence-system/meshfence: must be a mapping, not a string", 0, 0},
			{"good ones again", func() { nodes.Modify(node("b", "r1")) }, time.Minute, "[r1/*:100]", "", 1, 0},
			{"no right for a moment", func() { nodes.refuse(forbidden()) }, 5 * time.Second, "[r1/*:100]", "", 1, 0},
			{"a right after a moment", func() { nodes.refuse(nil) }, time.Minute, "[r1/*:100]", "", 1, 0},
			{"no right", func() { nodes.refuse(forbidden()) }, time.Minute, "[r1/*:100]", prefix + denied + kept, 0, 0},
			{"a right again", func() { nodes.refuse(nil) }, time.Minute, "[r1/*:100]", "", 1, 0},
			{"listed", func() { configs.Modify(fenceConfig(byNodes("m1c1: [r5]"))) }, 0, "[r5:100]", "", 1, 1},
			{"listed, and Nodes move", func() { nodes.Modify(node("a", "r4")); nodes.Delete(node("b", "")) }, time.Minute, "[r5:100]", "", 1, 0},
			{"not listed", func() { configs.Modify(fenceConfig(byNodes("m1c2: [r2]"))) }, 0, "[r4/*:100]", "", 1, 1},
			{"no Nodes", func() { nodes.Delete(node("a", "")) }, time.Minute, "[r4/*:100]", prefix + "it has no Nodes" + kept, 0, 1},
		}
		for _, step := range steps {
			changes.Store(0)
			step.change()
			synctest.Wait()
			time.Sleep(step.wait)
			synctest.Wait()
			if got := w.shares(); got != step.shares {
				t.Errorf("%s: shares %s, want %s", step.name, got, step.shares)
			}
			if got := w.event(); got != step.event {
				t.Errorf("%s: event %q, want %q", step.name, got, step.event)
			}
			if got := w.gauge(t, "meshfence_localities_known"); got != step.known {
				t.Errorf("%s: localities known %v, want %v", step.name, got, step.known)
			}
			if got := changes.Load(); got != step.changes {
				t.Errorf("%s: %d changes, want %d", step.name, got, step.changes)
			}
			if listed := strings.HasPrefix(step.name, "listed"); nodes.watched() == (listed || strings.HasPrefix(step.name, "no right")) {
				t.Errorf("%s: Nodes are watched: %t", step.name, nodes.watched())
			}
		}
	})
}

// A state without the right to read Nodes becomes ready and says why hold locality holds nothing; no answer at all it
// waits for.
func TestStateWithoutNodes(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		err    error
		synced bool
		shares string
	}{
		"forbidden":     {forbidden(), true, "its Nodes cannot be read: nodes is forbidden: no right"},
		"not reachable": {errors.New("connection refused"), false, "its Nodes have not been read"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				nodes := newFickleSource(t)
				nodes.refuse(test.err)
				nodes.Add(node("a", "r1"))
				w := newWatchedWith(t, byNodes(""), cluster.Options{Nodes: nodes})
				w.sources[object.KindConfigMap].Add(fenceConfig(byNodes("")))
				w.runAll(t)
				if w.Synced() != test.synced || w.shares() != test.shares {
					t.Errorf("synced %t, want %t; shares %s, want %s", w.Synced(), test.synced, w.shares(), test.shares)
				}
				nodes.refuse(nil)
				time.Sleep(time.Minute)
				synctest.Wait()
				if !w.Synced() || w.shares() != "[r1/*:100]" || w.gauge(t, "meshfence_localities_known") != 1 {
					t.Errorf("with an answer: synced %t, shares %s", w.Synced(), w.shares())
				}
			})
		})
	}
}

// A config that needs Nodes comes into force together with their localities; until then the one before it stays, and
// admission goes on.
func TestStateReloadsWithNodes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		nodes := newFickleSource(t)
		nodes.refuse(errors.New("connection refused"))
		nodes.Add(node("a", "r1/z/s"))
		w := newWatchedWith(t, fenced, cluster.Options{Nodes: nodes})
		configs := w.sources[object.KindConfigMap]
		configs.Add(fenceConfig(fenced))
		w.runAll(t)
		configs.Modify(fenceConfig(byNodes("")))
		synctest.Wait()
		if holds := w.index.Config().Holds; !w.Synced() || !holds.Only(policy.Subset) {
			t.Errorf("before the Nodes are read: synced %t, holds %s", w.Synced(), holds)
		}
		assertReloads(t, w.registry, "before the Nodes are read", 1, map[string]float64{"success": 1})
		nodes.refuse(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := w.shares(); got != "[r1/z/s:100]" {
			t.Errorf("shares %s", got)
		}
		assertReloads(t, w.registry, "with the Nodes", 1, map[string]float64{"success": 2})
	})
}
