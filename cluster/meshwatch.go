package cluster

import (
	"context"
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
	"github.com/meshfence/meshfence/policy/meshconfig"
)

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
	read    meshconfig.ConfigMap
	lacking map[string]time.Time
}

// meshSeen is what the API server says of a mesh ConfigMap.
type meshSeen struct {
	// known reports whether it has said whether there is one.
	known  bool
	object *corev1.ConfigMap // nil where there is none
	// refused is why a right is missing, and failed why nothing could be read for another reason.
	refused, failed error
	// since is when one of them came.
	since time.Time
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
	if err == nil {
		s.refused, s.failed = nil, nil
		return
	}
	if s.refused == nil && s.failed == nil {
		s.since = time.Now()
	}
	switch {
	case refusal(err):
		s.refused, s.failed = err, nil
	case s.failed == nil:
		s.failed = err
	}
}

// lost returns why what was seen last does not count any more; while it does, that is nil, with how long it still will.
func (s meshSeen) lost(now time.Time) (left time.Duration, reason error) {
	switch {
	case s.refused != nil && !s.known:
		return 0, s.refused
	case s.refused != nil:
		reason, left = s.refused, forbiddenGrace
	case s.failed != nil:
		reason, left = s.failed, meshBlind
	default:
		return 0, nil
	}
	if left -= now.Sub(s.since); left > 0 {
		return left, nil
	}
	return 0, reason
}

// look returns what is known of the ConfigMap; ok is false while the API server has not answered.
func (w *meshWatch) look() (seen meshSeen, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen, w.seen.known || w.seen.refused != nil
}

// fault says what is wrong with the ConfigMap, and when to look again without a change; 0 where that is not needed.
func (w *meshWatch) fault(seen meshSeen, key client.ObjectKey, domain string, view *policy.View, now time.Time) (*policy.HoldFault, time.Duration) {
	again, reason := seen.lost(now)
	var read meshconfig.ConfigMap
	if reason != nil {
		read = meshconfig.UnknownConfigMap(key.String(), reason)
	} else {
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
func (w *meshWatch) text(object *corev1.ConfigMap, key client.ObjectKey, domain string) meshconfig.ConfigMap {
	if object == nil {
		return meshconfig.MissingConfigMap(key.String())
	}
	if object != w.of || domain != w.domain {
		w.of, w.domain, w.read = object, domain, meshconfig.ReadConfigMap(key.String(), domain, object.Data, object.Annotations)
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
