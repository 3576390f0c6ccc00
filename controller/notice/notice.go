package notice

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	eventsclient "k8s.io/client-go/kubernetes/typed/events/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/reference"

	"github.com/meshfence/meshfence/registry"
)

const (
	// Controller is the name that the Events bear.
	Controller = "meshfence"
	// The rate at which Events are sent, and how many may be sent at once after a pause.
	perSecond = 5
	burst     = 20
	// recount is how often an Event that happens again is counted in the cluster.
	recount = 10 * time.Minute
	// memory is how long an Event is remembered here: as long as an API server keeps it (--event-ttl).
	memory = time.Hour
	// maxNote is how many bytes of text an Event may have.
	maxNote = 1024
	// attempts is how often an Event is sent that the API server does not take, and retry the pause before the second.
	attempts = 4
	retry    = time.Second
)

// The outcomes under which Events are counted.
const (
	outcomeSent    = "sent"
	outcomeKnown   = "known"
	outcomeDropped = "dropped"
)

// Recorder makes Events. The name of one comes from all that it says, so that the same is made once, whoever leads, and
// what differs in a word is another one. It is a runnable that every replica starts.
type Recorder struct {
	client  eventsclient.EventsV1Interface
	log     logr.Logger
	counts  *prometheus.CounterVec
	replica string
	queue   *queue

	mu    sync.Mutex
	known map[string]*record
}

// record is what is remembered of an Event.
type record struct {
	count      int32
	seen, sent time.Time
}

var _ events.EventRecorder = (*Recorder)(nil)

// NewRecorder returns a recorder with a client of its own.
func NewRecorder(config *rest.Config, registerer prometheus.Registerer, log logr.Logger) (*Recorder, error) {
	own := rest.CopyConfig(config)
	own.UserAgent += "/events"
	own.QPS, own.Burst, own.Timeout = perSecond, burst, 10*time.Second
	client, err := kubernetes.NewForConfig(own)
	if err != nil {
		return nil, fmt.Errorf("client for Events: %w", err)
	}
	return New(client.EventsV1(), registerer, log)
}

// New returns a recorder with a client, which limits the rate.
func New(client eventsclient.EventsV1Interface, registerer prometheus.Registerer, log logr.Logger) (*Recorder, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("name of this replica: %w", err)
	}
	counts := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "meshfence_events_total",
		Help: "Events by what became of them; known ones were in the cluster already.",
	}, []string{"outcome"})
	if err := registry.Add(registerer, counts); err != nil {
		return nil, err
	}
	return &Recorder{
		client: client, log: log, counts: counts, replica: host,
		queue: newQueue(), known: map[string]*record{},
	}, nil
}

// Eventf makes an Event, unless it was made a short while ago. It does not wait.
func (r *Recorder) Eventf(regarding, related runtime.Object, eventType, reason, action, note string, args ...any) {
	r.AnnotatedEventf(regarding, related, nil, eventType, reason, action, note, args...)
}

// AnnotatedEventf makes an Event with annotations, which do not tell one Event from another.
func (r *Recorder) AnnotatedEventf(regarding, related runtime.Object, annotations map[string]string, eventType, reason, action, note string, args ...any) {
	about, err := reference.GetReference(scheme.Scheme, regarding)
	if err != nil {
		r.log.Error(err, "an Event has no object", "reason", reason)
		return
	}
	event := &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: about.Namespace, Annotations: annotations},
		EventTime:  metav1.NowMicro(), ReportingController: Controller, ReportingInstance: r.replica,
		Regarding: *about, Type: eventType, Reason: reason, Action: action, Note: shorten(fmt.Sprintf(note, args...)),
	}
	if event.Namespace == "" {
		event.Namespace = metav1.NamespaceDefault // the API asks for it
	}
	if related != nil {
		if event.Related, err = reference.GetReference(scheme.Scheme, related); err != nil {
			r.log.Error(err, "an Event has no related object", "reason", reason)
		}
	}
	event.Name = nameOf(event)
	if !r.due(event.Name, event.EventTime.Time) {
		return
	}
	if !r.queue.put(event) {
		r.counts.WithLabelValues(outcomeDropped).Inc()
		r.forget(event.Name)
	}
}

// nameOf returns the name of all that an Event says. The version of the object is no part of that.
func nameOf(e *eventsv1.Event) string {
	about := []string{e.Regarding.Kind, e.Regarding.Namespace, e.Regarding.Name, string(e.Regarding.UID), e.Type, e.Reason, e.Action, e.Note}
	if e.Related != nil {
		about = append(about, e.Related.Kind, e.Related.Namespace, e.Related.Name)
	}
	sum := sha256.Sum256([]byte(strings.Join(about, "\x00")))
	name := e.Regarding.Name
	return fmt.Sprintf("%.*s.%x", 200, strings.ToLower(strings.ReplaceAll(name, ":", "-")), sum[:8])
}

func shorten(note string) string {
	if len(note) <= maxNote {
		return note
	}
	return strings.ToValidUTF8(note[:maxNote-len("...")], "") + "..."
}

// due counts an Event, and reports whether the cluster is to hear of it.
func (r *Recorder) due(name string, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.known) > 4*waiting {
		maps.DeleteFunc(r.known, func(_ string, k *record) bool { return now.Sub(k.seen) > memory })
	}
	k, ok := r.known[name]
	if !ok || now.Sub(k.seen) > memory {
		r.known[name] = &record{count: 1, seen: now, sent: now}
		return true
	}
	k.count++
	k.seen = now
	if now.Sub(k.sent) < recount {
		return false
	}
	k.sent = now
	return true
}

func (r *Recorder) forget(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.known, name)
}

func (r *Recorder) count(name string) int32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if k, ok := r.known[name]; ok {
		return k.count
	}
	return 1
}

// NeedLeaderElection says that every replica tells what it sees.
func (r *Recorder) NeedLeaderElection() bool { return false }

// Start sends what is recorded until the context ends.
func (r *Recorder) Start(ctx context.Context) error {
	for ctx.Err() == nil {
		if event := r.queue.take(); event != nil {
			r.deliver(ctx, event)
			continue
		}
		select {
		case <-ctx.Done():
		case <-r.queue.filled:
		}
	}
	return nil
}

// deliver sends an Event and counts what became of it.
func (r *Recorder) deliver(ctx context.Context, event *eventsv1.Event) {
	outcome, err := r.send(ctx, event)
	if err != nil && ctx.Err() == nil {
		r.forget(event.Name)
		level := 0
		if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			level = 1 // as it must be
		}
		r.log.V(level).Info("an Event is lost", "reason", event.Reason, "object", event.Regarding.Namespace+"/"+event.Regarding.Name, "error", err.Error())
	}
	r.counts.WithLabelValues(outcome).Inc()
}

func (r *Recorder) send(ctx context.Context, event *eventsv1.Event) (outcome string, err error) {
	pause := retry
	for range attempts {
		if outcome, err = r.try(ctx, event); err == nil {
			return outcome, nil
		}
		// A namespace that is ending, or gone, takes none.
		if apierrors.IsForbidden(err) || apierrors.IsNotFound(err) || apierrors.IsInvalid(err) {
			break
		}
		select {
		case <-ctx.Done():
			return outcomeDropped, err
		case <-time.After(pause):
			pause *= 2
		}
	}
	return outcomeDropped, err
}

// try creates an Event, or counts it where it stands.
func (r *Recorder) try(ctx context.Context, event *eventsv1.Event) (string, error) {
	_, err := r.client.Events(event.Namespace).Create(ctx, event, metav1.CreateOptions{})
	if err == nil {
		return outcomeSent, nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return "", err
	}
	count := r.count(event.Name)
	if count < 2 {
		return outcomeKnown, nil // a former leader has told it
	}
	patch, err := json.Marshal(map[string]any{"series": eventsv1.EventSeries{Count: count, LastObservedTime: event.EventTime}})
	if err != nil {
		return "", err
	}
	_, err = r.client.Events(event.Namespace).Patch(ctx, event.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	return outcomeKnown, err
}
