package controller

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

// unheld tells of strict Services that nothing holds, by a metric and by an Event for each change.
type unheld struct {
	index    *policy.Index
	recorder events.EventRecorder
	metrics  *metrics
	grace    time.Duration

	changed chan struct{}
	// since is when a Service was first found without a hold, and told the reasons that were told of it.
	since map[hostname.Host]time.Time
	told  map[hostname.Host]string
}

func newUnheld(r *runner) *unheld {
	return &unheld{
		index: r.Index, recorder: r.recorder, metrics: r.metrics, grace: heldGrace,
		changed: make(chan struct{}, 1), since: map[hostname.Host]time.Time{}, told: map[hostname.Host]string{},
	}
}

// run looks at every strict Service when something has changed, until the context ends.
func (u *unheld) run(ctx context.Context) error {
	poke := func() {
		select {
		case u.changed <- struct{}{}:
		default: // one that waits already stands for this one too
		}
	}
	u.index.WatchObjects(func(object.Key) { poke() })
	defer u.index.Subscribe(func(policy.Change) { poke() })()
	poke()
	again := time.Duration(0)
	for {
		if again == 0 {
			select {
			case <-ctx.Done():
				return nil
			case <-u.changed:
			}
		} else if !sleep(ctx, again, u.changed) {
			return nil
		}
		start := time.Now()
		again = u.look(ctx, start)
		if !sleep(ctx, max(auditGather, heldRest*time.Since(start)), nil) {
			return nil
		}
	}
}

// look finds the strict Services that nothing holds, and tells of those that have been so for long enough. It returns
// when to look again although nothing changes; 0 where that is not needed.
func (u *unheld) look(ctx context.Context, now time.Time) (again time.Duration) {
	since, told := map[hostname.Host]time.Time{}, map[hostname.Host]string{}
	counts, news := map[string]int{}, map[string][]notHeld{}
	view := u.index.View()
	for _, host := range u.index.Fenced("", policy.Strict) {
		_, lacks := inject.Held(host, view)
		if len(lacks) == 0 {
			continue
		}
		first, ok := u.since[host]
		if !ok {
			first = now
		}
		since[host] = first
		if left := u.grace - now.Sub(first); left > 0 {
			if again == 0 || left < again {
				again = left
			}
			continue
		}
		n := notHeld{host, reasonsOf(lacks), lacks[0].Message}
		for _, reason := range n.reasons {
			counts[reason]++
		}
		if told[host] = strings.Join(n.reasons, ", "); u.told[host] != told[host] {
			news[host.Namespace] = append(news[host.Namespace], n)
		}
	}
	u.tell(ctx, news, told)
	u.since, u.told = since, told
	for _, reason := range inject.Lacks() {
		u.metrics.unheld.WithLabelValues(reason).Set(float64(counts[reason]))
	}
	return again
}

// notHeld is a strict Service that nothing holds.
type notHeld struct {
	host    hostname.Host
	reasons []string
	message string
}

func reasonsOf(lacks []inject.Lack) []string {
	var reasons []string
	for _, l := range lacks {
		reasons = append(reasons, l.Reason)
	}
	slices.Sort(reasons)
	return slices.Compact(reasons)
}

// tell makes Events of what is new, by Namespace, and tells the log of what is over.
func (u *unheld) tell(ctx context.Context, news map[string][]notHeld, told map[hostname.Host]string) {
	log := logf.FromContext(ctx).WithName("holds")
	for _, namespace := range slices.Sorted(maps.Keys(news)) {
		list := news[namespace]
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
	over := 0
	for host := range u.told {
		if told[host] == "" {
			over++
		}
	}
	if over > 0 {
		log.Info("strict Services are held again, or not strict any more", "services", over)
	}
}

func (u *unheld) event(kind string, about hostname.Host, note string) {
	object := &corev1.ObjectReference{APIVersion: "v1", Kind: kind, Namespace: about.Namespace, Name: about.Name}
	u.recorder.Eventf(object, nil, corev1.EventTypeWarning, "NotHeld", "Hold", "%s", note[:min(len(note), maxNote)])
}
