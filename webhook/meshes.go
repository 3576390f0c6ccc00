package webhook

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/inject"
)

const (
	// meshGrace is how long a mesh ConfigMap may lack the entry of a host that can be added before hold meshConfig
	// does not count any more. The leader adds it within a second, and a new leader within this time.
	meshGrace = 10 * time.Second
	// meshBlind is how long a mesh ConfigMap may fail to be read, for another reason than a missing right, before
	// what was seen of it last does not count any more.
	meshBlind = time.Minute
	// meshGather is how long changes of the scope are gathered before the mesh ConfigMaps are weighed, and
	// meshRest how many times as long as that took, so that it costs little where there are very many Services.
	meshGather = 200 * time.Millisecond
	meshRest   = 20
)

// meshes are what is known of the mesh ConfigMaps, which are watched only while the FenceConfig names them and hold
// meshConfig.
type meshes struct {
	source func(client.ObjectKey) toolscache.ListerWatcher
	// changed holds a token when the scope or a ConfigMap has changed.
	changed chan struct{}
	// weighed are the ConfigMaps that fault speaks of.
	weighed []client.ObjectKey
	fault   *policy.HoldFault
}

func newMeshes(o Options) meshes {
	return meshes{source: o.MeshConfigMaps, changed: make(chan struct{}, 1)}
}

// meshMapsOf lists the mesh ConfigMaps that a config needs.
func meshMapsOf(config *policy.Config) []client.ObjectKey {
	if !config.Holds.Has(policy.MeshConfig) {
		return nil
	}
	var keys []client.ObjectKey
	for _, name := range config.MeshConfigMaps {
		keys = append(keys, client.ObjectKey{Namespace: config.IstioNamespace, Name: name})
	}
	return keys
}

// asked says that the API server has answered for every mesh ConfigMap of a config, be it that one cannot be read.
func (m *meshes) asked(config *policy.Config) bool {
	return slices.Equal(m.weighed, meshMapsOf(config))
}

// followMeshes watches the mesh ConfigMaps that the FenceConfig needs, and weighs them, until the context ends.
func (c *completion) followMeshes(ctx context.Context) {
	f := &meshFollower{completion: c, watched: map[client.ObjectKey]*meshWatch{}}
	defer f.running.Wait()
	defer c.index.Subscribe(func(policy.Change) { put(c.meshes.changed) })()
	var again, agree <-chan time.Time
	rest := meshGather
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wakeMeshes:
			f.follow(ctx)
		case <-c.meshes.changed:
			select {
			case <-ctx.Done():
				return
			case <-time.After(rest):
			}
		case <-again:
		case <-agree:
			agree = nil
			c.remind()
		}
		start := time.Now()
		changed, next := f.weigh(start)
		if again = nil; next > 0 {
			again = time.After(next)
		}
		if changed {
			agree = time.After(nodesAgree)
		}
		rest = max(meshGather, meshRest*time.Since(start))
	}
}

// meshFollower is the one goroutine that weighs the mesh ConfigMaps.
type meshFollower struct {
	*completion

	watched map[client.ObjectKey]*meshWatch
	running sync.WaitGroup
	// told is what the last fault was made of.
	told string
}

// follow starts and ends watches, so that there is one for each mesh ConfigMap that the config needs.
func (f *meshFollower) follow(ctx context.Context) {
	needed := meshMapsOf(f.current())
	for key, w := range f.watched {
		if !slices.Contains(needed, key) {
			w.cancel()
			delete(f.watched, key)
		}
	}
	for _, key := range needed {
		if f.watched[key] == nil {
			w := &meshWatch{}
			var watching context.Context
			watching, w.cancel = context.WithCancel(ctx)
			f.watched[key] = w
			f.running.Go(func() {
				if err := w.run(watching, f.meshes.source(key), f.log.WithValues("configMap", key.String()), func() { put(f.meshes.changed) }); err != nil {
					f.log.Error(err, "mesh ConfigMap cannot be watched", "configMap", key.String())
				}
			})
		}
	}
}

func (c *completion) current() *policy.Config {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.config
}

// weigh works out whether hold meshConfig is true, once all its ConfigMaps have been asked for. It says whether
// that is news, and when to look again without a change; 0 where that is not needed.
func (f *meshFollower) weigh(now time.Time) (changed bool, again time.Duration) {
	config := f.current()
	view := f.index.View()
	var faults []*policy.HoldFault
	var told strings.Builder
	keys := meshMapsOf(config)
	for _, key := range keys {
		w, ok := f.watched[key]
		if !ok {
			return false, 0 // a token is on its way
		}
		seen, ok := w.look()
		if !ok {
			return false, 0
		}
		fault, next := w.fault(seen, key, config.ClusterDomain, view, now)
		if again == 0 || next > 0 && next < again {
			again = next
		}
		if fault != nil {
			faults = append(faults, fault)
			fmt.Fprintf(&told, "%s %s %s\n", seen.version(), fault.State(), fault.Reason)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.config != config {
		return false, 0 // a token is on its way
	}
	if text := told.String(); text != f.told {
		f.told, f.meshes.fault = text, inject.JoinFaults(faults)
	}
	if first := !f.meshes.asked(config); first || f.meshes.fault != f.index.Config().Fault(policy.MeshConfig) {
		f.meshes.weighed = keys
		return f.answered(), again
	}
	return false, again
}

// meshWatch is what a watch says of one mesh ConfigMap.
type meshWatch struct {
	cancel context.CancelFunc

	mu sync.Mutex
	// seen is what the API server said last.
	seen meshSeen

	// The rest is for the follower alone: the object that was read last, with which cluster domain, what istiod makes
	// of it, and since when it lacks which hosts.
	of      *corev1.ConfigMap
	domain  string
	read    inject.MeshMap
	lacking map[string]time.Time
}

// meshSeen is what the API server says of a mesh ConfigMap.
type meshSeen struct {
	// known says that it has said whether there is one.
	known  bool
	object *corev1.ConfigMap // nil where there is none
	// refused says that a right is missing, and failed that nothing has been read since then for another reason.
	refused, failed error
	since           time.Time
}

func (s meshSeen) version() string {
	if s.object == nil {
		return ""
	}
	return string(s.object.UID) + " " + s.object.ResourceVersion
}

// run watches the ConfigMap until the context ends, and tells of changes.
func (w *meshWatch) run(ctx context.Context, source toolscache.ListerWatcher, log logr.Logger, changed func()) error {
	note := func(change func(*meshSeen)) {
		w.mu.Lock()
		change(&w.seen)
		w.mu.Unlock()
		changed()
	}
	answered := func(err error) { note(func(s *meshSeen) { s.answered(err) }) }
	informer := toolscache.NewSharedIndexInformer(observed(source, answered), &corev1.ConfigMap{}, 0, nil)
	err := informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *toolscache.Reflector, err error) {
		log.Info("mesh ConfigMap cannot be watched, trying again", "reason", err.Error())
	})
	if err != nil {
		return err
	}
	registration, err := informer.AddEventHandler(handlers(
		func(o *corev1.ConfigMap) { note(func(s *meshSeen) { s.known, s.object = true, o }) },
		func(toolscache.ObjectName) { note(func(s *meshSeen) { s.known, s.object = true, nil }) },
	))
	if err != nil {
		return err
	}
	var running sync.WaitGroup
	running.Go(func() { informer.RunWithContext(ctx) })
	defer running.Wait()
	select {
	case <-ctx.Done():
	case <-registration.HasSyncedChecker().Done():
		note(func(s *meshSeen) { s.known = true }) // also where there is none
	}
	return nil
}

func (s *meshSeen) answered(err error) {
	switch {
	case err == nil:
		s.refused, s.failed = nil, nil
	case refusal(err):
		s.refused, s.failed = err, nil
	case s.failed == nil:
		s.failed, s.since = err, time.Now()
	}
}

// look returns what is known of the ConfigMap; ok is false while the API server has not answered.
func (w *meshWatch) look() (seen meshSeen, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen, w.seen.known || w.seen.refused != nil
}

// fault says what is wrong with the ConfigMap, and when to look again without a change; 0 where that is not needed.
func (w *meshWatch) fault(seen meshSeen, key client.ObjectKey, domain string, view *policy.View, now time.Time) (*policy.HoldFault, time.Duration) {
	var again time.Duration
	read := w.read
	switch blind := now.Sub(seen.since); {
	case seen.refused != nil:
		read = inject.UnknownMeshMap(key.String(), seen.refused)
	case seen.failed != nil && blind >= meshBlind:
		read = inject.UnknownMeshMap(key.String(), seen.failed)
	case seen.failed != nil:
		again = meshBlind - blind
		fallthrough
	default:
		read = w.text(seen.object, key, domain)
	}
	fault, lacks := read.Fault(view)
	since := map[string]time.Time{}
	oldest := now
	for _, host := range lacks {
		at, ok := w.lacking[host]
		if !ok {
			at = now
		}
		if since[host] = at; at.Before(oldest) {
			oldest = at
		}
	}
	w.lacking = since
	if fault == nil || !fault.Behind {
		return fault, again
	}
	if left := meshGrace - now.Sub(oldest); left > 0 {
		return nil, left
	}
	return fault, again
}

// text reads the ConfigMap, unless that is what was read last.
func (w *meshWatch) text(object *corev1.ConfigMap, key client.ObjectKey, domain string) inject.MeshMap {
	if object == nil {
		return inject.MissingMeshMap(key.String())
	}
	if object != w.of || domain != w.domain {
		w.of, w.domain, w.read = object, domain, inject.ReadMeshMap(key.String(), domain, object.Data, object.Annotations)
	}
	return w.read
}

// meshConfigMapsOf returns the sources of single ConfigMaps of a cluster.
func meshConfigMapsOf(api corev1client.ConfigMapsGetter) func(client.ObjectKey) toolscache.ListerWatcher {
	return func(key client.ObjectKey) toolscache.ListerWatcher {
		one := fields.OneTermEqualSelector("metadata.name", key.Name).String()
		return &toolscache.ListWatch{
			ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
				o.FieldSelector = one
				return api.ConfigMaps(key.Namespace).List(ctx, o)
			},
			WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
				o.FieldSelector = one
				return api.ConfigMaps(key.Namespace).Watch(ctx, o)
			},
		}
	}
}
