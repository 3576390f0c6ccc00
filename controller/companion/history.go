package companion

import (
	"context"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/contest"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/inject"
)

// history remembers what the cluster does not tell. A new leader starts without one.
type history struct {
	mu    sync.Mutex
	hosts map[hostname.Host]*past
}

// past is the history of one Service. Only the reconciliation of that Service uses it, and there is but one at
// a time.
type past struct {
	Timers

	// lacking is the DestinationRule whose lack of the reserved subset was told of last; empty for none.
	lacking string
	// taken lists the kinds in which somebody else's object has the name, as they were reported.
	taken []string
	// contests remember the writes by kind.
	contests map[string]*contest.Record
	// overtakes counts the writes in a row that found another state than the index had.
	overtakes int
	// changed are the kinds whose companion was told to come back from a write as another one.
	changed map[string]bool
}

func (p *past) contest(kind string) *contest.Record {
	r, ok := p.contests[kind]
	if !ok {
		r = &contest.Record{}
		p.contests[kind] = r
	}
	return r
}

// overtaken reports whether a write failed because the index is behind, and not too often in a row.
func (p *past) overtaken(err error) bool {
	if !apierrors.IsAlreadyExists(err) && !apierrors.IsConflict(err) {
		p.overtakes = 0
		return false
	}
	p.overtakes++
	return p.overtakes <= overtakenTimes
}

func (h *history) of(host hostname.Host) *past {
	h.mu.Lock()
	defer h.mu.Unlock()
	p, ok := h.hosts[host]
	if !ok {
		p = &past{contests: map[string]*contest.Record{}, changed: map[string]bool{}}
		h.hosts[host] = p
	}
	return p
}

// forget drops the history of a Service, and reports whether it counted as blocked.
func (h *history) forget(host hostname.Host) (blocked bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p, ok := h.hosts[host]
	delete(h.hosts, host)
	return ok && len(p.taken) > 0
}

func (r *Reconciler) forget(host hostname.Host) {
	if r.history.forget(host) {
		r.Metrics.CompanionsBlocked.Dec()
	}
}

// reportTaken tells, once, of companions whose name somebody else has taken. It is taken back.
func (r *Reconciler) reportTaken(ctx context.Context, past *past, service *corev1.Service, taken []string) {
	if slices.Equal(past.taken, taken) {
		return
	}
	if len(past.taken) == 0 {
		r.Metrics.CompanionsBlocked.Inc()
	}
	if past.taken = taken; len(taken) == 0 {
		r.Metrics.CompanionsBlocked.Dec()
		return
	}
	name := inject.CompanionName(service.Name)
	for _, kind := range taken {
		logf.FromContext(ctx).Info("the name of a companion was taken, and is taken back", "kind", kind, "taken", name)
		r.Recorder.Eventf(service, nil, corev1.EventTypeWarning, "CompanionNameTaken", "MakeCompanion",
			"%s %s was made for another host, and is made the companion of the Service, because the name is reserved: what it held is in its annotation %s",
			kind, name, ReplacedAnnotation)
	}
}

// reportLacking tells, once, of a user's DestinationRule that lacks the subset which the companion route leads to.
func (r *Reconciler) reportLacking(ctx context.Context, past *past, service *corev1.Service, lacking string, routed bool) {
	if past.lacking == lacking {
		return
	}
	if past.lacking = lacking; lacking == "" {
		return
	}
	logf.FromContext(ctx).Info("rule lacks the reserved subset", "rule", lacking, "routed", routed)
	what := "VirtualService %s waits for it, and until then the fence does not hold"
	if routed {
		what = "calls fail, because VirtualService %s leads to it"
	}
	r.Recorder.Eventf(service, nil, corev1.EventTypeWarning, "RuleLacksSubset", "MakeCompanion",
		"DestinationRule %s has no subset %q of this cluster: "+what+"; apply that rule again, and admission adds the subset or says why not",
		lacking, policy.ReservedSubset, inject.CompanionName(service.Name))
}
