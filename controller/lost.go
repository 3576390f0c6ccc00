package controller

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
)

// lostGather is how long changes are gathered before it is told which of them took a fence away.
const lostGather = 500 * time.Millisecond

// lost tells of Services that lose their fence because an update takes their annotation away, as controllers do that
// write the Services of their objects anew. Whether that was meant cannot be known: an Event says what happened.
type lost struct {
	index    *policy.Index
	reader   client.Reader
	recorder events.EventRecorder

	mu      sync.Mutex
	changed map[hostname.Host]bool
	// annotated are the Services that ask for a fence, or did at the last look.
	annotated map[hostname.Host]policy.Fence
	wake      chan struct{}
}

func newLost(r *runner) *lost {
	return &lost{
		index: r.Index, reader: r.mgr.GetAPIReader(), recorder: r.recorder,
		changed: map[hostname.Host]bool{}, wake: make(chan struct{}, 1),
	}
}

// run looks at the Services that change, until the context ends.
func (l *lost) run(ctx context.Context) error {
	l.annotated = l.index.Annotated()
	defer l.index.Subscribe(l.note)()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.wake:
		}
		if !sleep(ctx, lostGather, nil) {
			return nil
		}
		l.look(ctx)
	}
}

// note remembers a Service that has changed.
func (l *lost) note(c policy.Change) {
	if c.Service == "" {
		return
	}
	host := hostname.Host{Namespace: c.Namespace, Name: c.Service}
	fence, asks, _ := l.index.Annotation(host)
	l.mu.Lock()
	l.changed[host] = true
	if asks { // it may be gone again before anybody looks
		l.annotated[host] = fence
	}
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default: // one that waits already stands for this one too
	}
}

// look tells of the Services among those that have changed whose fence is gone with their annotation. One that is gone
// itself has lost nothing.
func (l *lost) look(ctx context.Context) {
	l.mu.Lock()
	changed := l.changed
	l.changed = map[hostname.Host]bool{}
	l.mu.Unlock()
	view := l.index.View()
	for _, host := range slices.SortedFunc(maps.Keys(changed), hostname.Host.Compare) {
		_, asks, exists := l.index.Annotation(host)
		if asks {
			continue
		}
		l.mu.Lock()
		was := l.annotated[host]
		delete(l.annotated, host)
		l.mu.Unlock()
		if now := view.Service(host, nil); exists && now.Fence < was {
			l.tell(ctx, host, was, now)
		}
	}
}

func (l *lost) tell(ctx context.Context, host hostname.Host, was policy.Fence, now policy.Decision) {
	var service corev1.Service
	if err := l.reader.Get(ctx, client.ObjectKey{Namespace: host.Namespace, Name: host.Name}, &service); err != nil {
		if client.IgnoreNotFound(err) != nil {
			logf.FromContext(ctx).Error(err, "Service that lost its fence cannot be read", "service", host.Namespace+"/"+host.Name)
		}
		return
	}
	if _, back := service.Annotations[policy.FenceKey]; back {
		return
	}
	note := fmt.Sprintf("an update took the annotation %s: %s away, and the fence is now %s (%s)", policy.FenceKey, was, now.Fence, now.By)
	if owner := metav1.GetControllerOf(&service); owner != nil {
		note += fmt.Sprintf("; the controller of %s %s keeps this Service: label the namespace, or name the Service in scope.services of the FenceConfig",
			owner.Kind, owner.Name)
	}
	l.recorder.Eventf(&service, nil, corev1.EventTypeWarning, "FenceLost", "Hold", "%.900s", note)
}
