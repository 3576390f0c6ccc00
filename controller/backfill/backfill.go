// Package backfill brings objects in line that admission has not seen since their fence is what it is, whoever owns them.
// It writes nothing into them itself: a patch without content sends each through admission, leaves no trace in
// managedFields, and what comes back is what the owner's next apply would get.
package backfill

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/meshfence/meshfence/controller/change"
	"github.com/meshfence/meshfence/controller/mesh"
	"github.com/meshfence/meshfence/controller/metric"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
)

// progressEvery is after how many objects the log tells how far a pass is.
const progressEvery = 100

// Options are what a Backfill needs. All must be set.
type Options struct {
	Mesh *mesh.Mesh
	// Informers tell of changes of the objects in the cache of Mesh.
	Informers cache.Informers
	// Live reads past any cache.
	Live     client.Reader
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
	defer b.Mesh.Index.Subscribe(b.inbox.Put)()
	if err := b.watch(ctx); err != nil {
		return err
	}
	b.inbox.Put(policy.Change{})
	resync := time.NewTicker(b.Resync)
	defer resync.Stop()
	left, delay := change.NewSet(), time.Duration(0)
	for {
		var retry <-chan time.Time
		if !left.Empty() {
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
		s, _ := b.inbox.Take()
		s.Merge(left)
		if left = change.NewSet(); b.pass(ctx, s) {
			b.Metrics.BackfillPass.SetToCurrentTime()
			delay = 0
			continue
		}
		left, delay = s, later(delay)
	}
}

// watch looks at what was written past admission, and again at what was skipped or refused when somebody
// changes it.
func (b *Backfill) watch(ctx context.Context) error {
	for _, gvk := range []schema.GroupVersionKind{b.Mesh.Rule, b.Mesh.Route} {
		informer, err := b.Informers.GetInformer(ctx, mesh.ObjectOf(gvk))
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("watch %s: %w", gvk.Kind, err)
		}
		_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerDetailedFuncs{
			AddFunc: func(o any, first bool) {
				if !first { // the first pass looks at all of those
					b.again(o)
				}
			},
			UpdateFunc: func(_, o any) { b.again(o) },
			DeleteFunc: b.again,
		})
		if err != nil {
			return fmt.Errorf("watch %s: %w", gvk.Kind, err)
		}
	}
	return nil
}

// again asks for the Services that a cached object names, if the object may have to be brought in line, or to let others
// be.
func (b *Backfill) again(o any) {
	u, ok := o.(*unstructured.Unstructured)
	if !ok {
		return
	}
	config := b.Mesh.Index.Config()
	// With several clusters a rule gets a reserved subset when a route names it.
	names := len(config.Clusters) > 1 && len(b.Mesh.Reserved(u)) > 0
	if !mesh.Differs(u) && !names && !b.progress.waiting(mesh.TargetOf(u)) {
		return
	}
	for _, name := range b.Mesh.Named(u) {
		host, ok := hostname.Parse(name, config.ClusterDomain)
		if _, wildcard := hostname.Wildcard(name); ok || wildcard { // a wildcard asks for everything
			b.inbox.Put(policy.Change{Namespace: host.Namespace, Service: host.Name})
		}
	}
}

// pass brings the objects of a set of Services in line, and reports whether none is left that another pass may fix.
func (b *Backfill) pass(ctx context.Context, s change.Set) (done bool) {
	log := logf.FromContext(ctx).WithName("backfill")
	jobs, err := b.scan(ctx, s)
	if err != nil {
		log.Error(err, "objects cannot be read")
		return false
	}
	total := b.progress.begin(s, jobs)
	b.publish()
	if total == 0 {
		return true
	}
	log.Info("objects to bring in line", "objects", total)
	done = true
	at := 0
	for step := range steps {
		wrote := false
		for _, j := range jobs[step] {
			result := b.bring(ctx, j)
			if ctx.Err() != nil {
				return false
			}
			b.record(j, result)
			log.V(1).Info("object", "kind", j.Kind, "namespace", j.Namespace, "name", j.Name, "state", result.state, "reason", result.reason)
			wrote = wrote || result.state == stateDone
			done = done && result.state != statePending
			if at++; at%progressEvery == 0 {
				log.Info("progress", b.progress.pairs()...)
			}
		}
		if wrote && jobs.settles(step) {
			change.Sleep(ctx, b.Settle)
		}
	}
	log.Info("pass is over", b.progress.pairs()...)
	return done
}

// record enters what became of a job, and tells of it in Events.
func (b *Backfill) record(j *job, r result) {
	for _, n := range b.progress.set(j, r) {
		b.Recorder.Eventf(j.stub, nil, corev1.EventTypeWarning, n.reason, "Backfill", "%.900s", n.text)
	}
	b.publish()
}

func (b *Backfill) publish() {
	for state, n := range b.progress.counts() {
		b.Metrics.Backfill.WithLabelValues(state).Set(float64(n))
	}
}
