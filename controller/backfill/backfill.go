package backfill

import (
	"context"
	"maps"
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

// progressEvery is after how many objects the log tells how far a pass is.
const progressEvery = 100

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

	progress *progress
	limiter  *rate.Limiter
	inbox    *change.Inbox
}

// New returns a backfill for one term of leadership.
func New(o Options) *Backfill {
	b := &Backfill{Options: o, progress: newProgress(), limiter: rate.NewLimiter(rate.Limit(o.Rate), 1), inbox: change.NewInbox()}
	b.publish()
	return b
}

// Run makes one pass over everything, one over what each change touches, and repeats passes that left
// something undone, until the context ends.
func (b *Backfill) Run(ctx context.Context) error {
	defer b.Mesh.Index.WatchObjects(b.changed)()
	defer b.Mesh.Index.Subscribe(b.inbox.Put)()
	b.inbox.Put(policy.Change{})
	resync := time.NewTicker(b.Resync)
	defer resync.Stop()
	left, objects, delay := change.NewSet(), map[object.Key]bool{}, time.Duration(0)
	for {
		var retry <-chan time.Time
		if !left.Empty() || len(objects) > 0 {
			retry = time.After(delay)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-b.inbox.Full:
			b.progress.reconsider()
		case <-resync.C:
			b.inbox.Put(policy.Change{})
			b.progress.reconsider()
		case <-retry:
		}
		s, keys := b.inbox.Take()
		left.Merge(s)
		maps.Copy(objects, keys)
		if !b.pass(ctx, left, objects) {
			delay = later(delay)
			continue
		}
		b.Metrics.BackfillPass.SetToCurrentTime()
		left, objects, delay = change.NewSet(), map[object.Key]bool{}, 0
	}
}

// pass brings the objects of a set of Services in line, and some more by their keys, and reports whether none is left that
// another pass may fix.
func (b *Backfill) pass(ctx context.Context, s change.Set, objects map[object.Key]bool) (done bool) {
	log := logf.FromContext(ctx).WithName("backfill")
	found, looked := b.scan(s, objects)
	total := b.progress.begin(looked, found)
	b.publish()
	if total == 0 {
		return true
	}
	log.Info("objects to bring in line", "objects", total)
	done = true
	at := 0
	for step := range steps {
		wrote := false
		for _, d := range found[step] {
			result := b.bring(ctx, d)
			if ctx.Err() != nil {
				return false
			}
			b.record(d, result)
			log.V(1).Info("object", "kind", d.Kind, "namespace", d.Namespace, "name", d.Name, "state", result.state, "reason", result.reason)
			wrote = wrote || result.state == stateDone
			done = done && result.state != statePending
			if at++; at%progressEvery == 0 {
				log.Info("progress", b.progress.pairs()...)
			}
		}
		if wrote && found.settles(step) {
			change.Sleep(ctx, b.Settle)
		}
	}
	log.Info("pass is over", b.progress.pairs()...)
	return done
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
