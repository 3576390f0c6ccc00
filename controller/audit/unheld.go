package audit

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/events"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/meshfence/meshfence/controller/change"
	"github.com/meshfence/meshfence/controller/metric"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/object"
)

const (
	// heldGrace is how long a strict Service may be without anything that holds it before that is told: its companions
	// are made within a second, and rules that users wrote before are changed one after the other.
	heldGrace = 10 * time.Second
	// heldRest is how many times as long as a look at every strict Service took nothing is looked at again.
	heldRest = 20
	// heldSingly is how many Services of a Namespace get an Event each at a time; of more the Namespace gets one.
	heldSingly = 5
)

// Unheld tells of strict Services that nothing holds, by a metric and by an Event for each change.
type Unheld struct {
	index    *policy.Index
	recorder events.EventRecorder
	metrics  *metric.Set

	changed change.Signal
	past    heldPast
}

// NewUnheld returns what tells of such Services for one term of leadership.
func NewUnheld(index *policy.Index, recorder events.EventRecorder, metrics *metric.Set) *Unheld {
	return &Unheld{index: index, recorder: recorder, metrics: metrics, changed: change.NewSignal()}
}

// Run looks at every strict Service when something has changed, until the context ends.
func (u *Unheld) Run(ctx context.Context) error {
	defer u.index.WatchObjects(func(_, _ *object.Object) { u.changed.Set() })()
	defer u.index.Subscribe(func(policy.Change) { u.changed.Set() })()
	u.changed.Set()
	again := time.Duration(0)
	for {
		if again == 0 && !u.changed.Wait(ctx) || again > 0 && !u.changed.WaitFor(ctx, again) {
			return nil
		}
		start := time.Now()
		again = u.Look(ctx, start)
		if !change.Sleep(ctx, max(gather, heldRest*time.Since(start))) {
			return nil
		}
	}
}

// Look finds the strict Services that nothing holds, and tells of those that have been so for long enough. It returns
// when to look again although nothing changes; 0 where that is not needed.
func (u *Unheld) Look(ctx context.Context, now time.Time) (again time.Duration) {
	plan := u.past.plan(lacking(u.index), now)
	u.past = plan.past
	u.tell(ctx, plan)
	for _, reason := range inject.Lacks() {
		u.metrics.Unheld.WithLabelValues(reason).Set(float64(plan.counts[reason]))
	}
	return plan.again
}

// notHeld is a strict Service that nothing holds.
type notHeld struct {
	host    hostname.Host
	reasons []string
	message string
}

// lacking lists the strict Services that nothing holds.
func lacking(index *policy.Index) []notHeld {
	var list []notHeld
	view := index.View()
	for _, host := range index.Fenced("", policy.Strict) {
		if _, lacks := inject.Held(host, view); len(lacks) > 0 {
			list = append(list, notHeld{host, reasonsOf(lacks), lacks[0].Message})
		}
	}
	return list
}

func reasonsOf(lacks []inject.Lack) []string {
	var reasons []string
	for _, l := range lacks {
		reasons = append(reasons, l.Reason)
	}
	slices.Sort(reasons)
	return slices.Compact(reasons)
}

// heldPast is what was found at the last look.
type heldPast struct {
	// since is when a Service was first found without a hold, and reported the reasons that were reported of it.
	since    map[hostname.Host]time.Time
	reported map[hostname.Host]string
}

// heldPlan is what to tell at a look.
type heldPlan struct {
	past heldPast
	// news are the Services to tell of by Namespace, and over is how many are not to be told of any more.
	news map[string][]notHeld
	over int
	// counts are the Services by reason.
	counts map[string]int
	// again is when one of those that are not told of yet has been so for long enough; 0 for none.
	again time.Duration
}

// plan decides what to tell of the Services that nothing holds now.
func (p heldPast) plan(now []notHeld, at time.Time) heldPlan {
	plan := heldPlan{
		past: heldPast{since: map[hostname.Host]time.Time{}, reported: map[hostname.Host]string{}},
		news: map[string][]notHeld{}, counts: map[string]int{},
	}
	for _, n := range now {
		first, known := p.since[n.host]
		if !known {
			first = at
		}
		plan.past.since[n.host] = first
		if left := heldGrace - at.Sub(first); left > 0 {
			if plan.again == 0 || left < plan.again {
				plan.again = left
			}
			continue
		}
		for _, reason := range n.reasons {
			plan.counts[reason]++
		}
		text := strings.Join(n.reasons, ", ")
		if plan.past.reported[n.host] = text; p.reported[n.host] != text {
			plan.news[n.host.Namespace] = append(plan.news[n.host.Namespace], n)
		}
	}
	for host := range p.reported {
		if plan.past.reported[host] == "" {
			plan.over++
		}
	}
	return plan
}

// tell makes Events of what is new, by Namespace, and tells the log of what is over.
func (u *Unheld) tell(ctx context.Context, plan heldPlan) {
	log := logf.FromContext(ctx).WithName("holds")
	for _, namespace := range slices.Sorted(maps.Keys(plan.news)) {
		list := plan.news[namespace]
		log.Info("nothing holds strict Services", "namespace", namespace, "services", len(list), "first", list[0].host.Name, "reasons", list[0].reasons)
		if len(list) > heldSingly {
			u.event(object.KindNamespace, hostname.Host{Name: namespace}, fmt.Sprintf("nothing keeps the traffic of %d strict Services in the cluster, %s among them: %s",
				len(list), list[0].host.Name, list[0].message))
			continue
		}
		for _, n := range list {
			u.event(object.KindService, n.host, "nothing keeps the traffic of this strict Service in the cluster: "+n.message)
		}
	}
	if plan.over > 0 {
		log.Info("strict Services are held again, or not strict any more", "services", plan.over)
	}
}

func (u *Unheld) event(kind string, about hostname.Host, note string) {
	object := &corev1.ObjectReference{APIVersion: "v1", Kind: kind, Namespace: about.Namespace, Name: about.Name}
	u.recorder.Eventf(object, nil, corev1.EventTypeWarning, "NotHeld", "Hold", "%.900s", note)
}
