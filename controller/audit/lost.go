package audit

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/meshfence/meshfence/controller/change"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
)

// Lost tells of Services that lose their fence because an update takes their annotation away, as controllers do that
// write the Services of their objects anew. Whether that was meant cannot be known: an Event says what happened.
type Lost struct {
	index    *policy.Index
	reader   client.Reader
	recorder events.EventRecorder

	mu      sync.Mutex
	changed map[hostname.Host]bool
	// annotated are the Services that ask for a fence, or did at the last look.
	annotated map[hostname.Host]policy.Fence
	wake      change.Signal
}

// NewLost returns what tells of such Services for one term of leadership. The reader reads past any cache.
func NewLost(index *policy.Index, reader client.Reader, recorder events.EventRecorder) *Lost {
	return &Lost{index: index, reader: reader, recorder: recorder, changed: map[hostname.Host]bool{}, wake: change.NewSignal()}
}

// Run looks at the Services that change, until the context ends.
func (l *Lost) Run(ctx context.Context) error {
	l.annotated = l.index.Annotated()
	defer l.index.Subscribe(l.note)()
	for l.wake.Wait(ctx) && change.Sleep(ctx, gather) {
		l.look(ctx)
	}
	return nil
}

// note remembers a Service that has changed.
func (l *Lost) note(c policy.Change) {
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
	l.wake.Set()
}

// look tells of the Services among those that have changed whose fence is gone with their annotation. One that is gone
// itself has lost nothing.
func (l *Lost) look(ctx context.Context) {
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

func (l *Lost) tell(ctx context.Context, host hostname.Host, was policy.Fence, now policy.Decision) {
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
	l.recorder.Eventf(&service, nil, corev1.EventTypeWarning, "FenceLost", "Hold", "%.900s", lostNote(&service, was, now))
}

func lostNote(service *corev1.Service, was policy.Fence, now policy.Decision) string {
	note := fmt.Sprintf("an update took the annotation %s: %s away, and the fence is now %s (%s)", policy.FenceKey, was, now.Fence, now.By)
	if owner := metav1.GetControllerOf(service); owner != nil {
		note += fmt.Sprintf("; the controller of %s %s keeps this Service: label the namespace, or name the Service in scope.services of the FenceConfig",
			owner.Kind, owner.Name)
	}
	return note
}
