package backfill

import (
	"context"
	"time"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/meshfence/meshfence/controller/change"
	"github.com/meshfence/meshfence/controller/mesh"
	"github.com/meshfence/meshfence/controller/metric"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// progressEvery is after how many objects the log tells how far the backfill is.
const progressEvery = 100

// The shortest and the longest time until an object is tried again.
const (
	retryFirst = time.Second
	retryMax   = 5 * time.Minute
)

// Options are what a Backfill needs. All must be set.
type Options struct {
	Mesh     *mesh.Mesh
	Writer   client.Client
	Recorder events.EventRecorder
	Metrics  *metric.Set
	// Rate is how many objects a second are written at most.
	Rate float64
	// Settle is how long the proxies get to hear of one step before the next.
	Settle time.Duration
	// Resync is how often everything is looked at again.
	Resync time.Duration
}

// Backfill brings objects in line. Nothing is remembered between leaders, because what is left to do shows in the objects.
type Backfill struct {
	Options

	inbox    *change.Inbox
	queue    *queue
	retries  *retries
	progress *progress
	limiter  *rate.Limiter
	tried    int
}

// New returns a backfill for one term of leadership.
func New(o Options) *Backfill {
	b := &Backfill{
		Options: o, inbox: change.NewInbox(), queue: newQueue(o.Settle), retries: newRetries(), progress: newProgress(),
		limiter: rate.NewLimiter(rate.Limit(o.Rate), 1),
	}
	b.publish()
	return b
}

// Run looks at everything once, and at what each change touches, and writes what differs, until the context ends.
func (b *Backfill) Run(ctx context.Context) error {
	defer b.Mesh.Index.WatchObjects(b.changed)()
	defer b.Mesh.Index.Subscribe(b.inbox.Put)()
	b.inbox.Put(policy.Change{})
	resync := time.NewTicker(b.Resync)
	defer resync.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-b.inbox.Full:
			b.progress.reconsider()
			changed, objects := b.inbox.Take()
			b.look(ctx, changed, objects)
		case <-resync.C:
			b.inbox.Put(policy.Change{})
		case <-due(b.retries.next()):
			b.look(ctx, change.NewSet(), b.retries.due(time.Now()))
		case <-due(b.queue.next()):
			if d := b.queue.take(time.Now()); d != nil {
				b.try(ctx, d)
			}
		}
		if b.queue.empty() && b.retries.empty() {
			b.Metrics.BackfillPass.SetToCurrentTime()
		}
	}
}

// due returns a channel that delivers at a time, and never where there is none.
func due(at time.Time, ok bool) <-chan time.Time {
	if !ok {
		return nil
	}
	return time.After(time.Until(at))
}

// look queues what differs of the objects of a set of Services, and of some more by their keys.
func (b *Backfill) look(ctx context.Context, s change.Set, objects map[object.Key]bool) {
	found, looked := b.scan(s, objects)
	b.queue.add(found, looked)
	b.retries.looked(looked, b.queue.queued)
	if total := b.progress.begin(looked, found); total > 0 {
		logf.FromContext(ctx).WithName("backfill").Info("objects to bring in line", "objects", total)
	}
	b.publish()
}

// try brings one object in line, or notes when that is tried again.
func (b *Backfill) try(ctx context.Context, d *difference) {
	log := logf.FromContext(ctx).WithName("backfill")
	result := b.bring(ctx, d)
	if ctx.Err() != nil {
		return
	}
	if result.state == stateDone {
		b.queue.wrote(d, time.Now())
	}
	b.retries.tried(d.Key, result.state == statePending)
	b.record(d, result)
	log.V(1).Info("object", "kind", d.Kind, "namespace", d.Namespace, "name", d.Name, "state", result.state, "reason", result.reason)
	if b.tried++; b.tried%progressEvery == 0 || b.queue.empty() {
		log.Info("progress", b.progress.pairs()...)
	}
}

// record enters what became of an object that differs, and tells of it in Events.
func (b *Backfill) record(d *difference, r result) {
	for _, n := range b.progress.set(d, r) {
		b.Recorder.Eventf(d.reference(b.Mesh), nil, corev1.EventTypeWarning, n.reason, "Backfill", "%.900s", n.text)
	}
	b.publish()
}

func (b *Backfill) publish() {
	for state, n := range b.progress.counts() {
		b.Metrics.Backfill.WithLabelValues(state).Set(float64(n))
	}
}
