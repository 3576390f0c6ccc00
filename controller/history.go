package controller

import (
	"context"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/meshfence/meshfence/policy/contest"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/inject"
)

// history remembers what the cluster does not tell: since when a state holds. A new leader starts without one
// and lets things settle again.
type history struct {
	mu    sync.Mutex
	hosts map[hostname.Host]*past
}

// past is the history of one Service. Only the reconciliation of that Service uses it, and there is but one at
// a time.
type past struct {
	// routed says that the companion route stood, or a person's in its place; one that is missing then is made
	// at once.
	routed bool
	// wanted is when a route was first wanted, unwanted when it was last not.
	wanted, unwanted time.Time
	// lacking is the DestinationRule whose lack of the reserved subset was told of last; empty for none.
	lacking string
	// blocked lists the kinds whose companion cannot be made, as they were reported.
	blocked []string
	// contests remember the writes by kind.
	contests map[schema.GroupVersionKind]*contest.Record
	// changed are the kinds whose companion was told to come back from a write as another one.
	changed map[schema.GroupVersionKind]bool
}

func (p *past) contest(gvk schema.GroupVersionKind) *contest.Record {
	r, ok := p.contests[gvk]
	if !ok {
		r = &contest.Record{}
		put(&p.contests, gvk, r)
	}
	return r
}

// put sets an entry of a map that may be nil.
func put[K comparable, V any](m *map[K]V, key K, value V) {
	if *m == nil {
		*m = map[K]V{}
	}
	(*m)[key] = value
}

func (h *history) of(host hostname.Host) *past {
	h.mu.Lock()
	defer h.mu.Unlock()
	p, ok := h.hosts[host]
	if !ok {
		p = &past{}
		h.hosts[host] = p
	}
	return p
}

// forget returns whether the Service counted as blocked.
func (h *history) forget(host hostname.Host) (blocked bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p, ok := h.hosts[host]
	delete(h.hosts, host)
	return ok && len(p.blocked) > 0
}

// wait returns how long to wait before the route may come, or, where none is wanted, before the rule may go.
func (p *past) wait(want inject.Companions, stands standing, settle time.Duration, now time.Time) time.Duration {
	if want.Route == nil {
		p.wanted = time.Time{}
		if p.routed && !stands.userRoute || stands.route != nil {
			p.unwanted = now
		}
		p.routed = stands.userRoute
		return settle - min(now.Sub(p.unwanted), settle)
	}
	if p.wanted.IsZero() {
		p.wanted = now
	}
	p.routed = p.routed || stands.route != nil
	if p.routed {
		return 0
	}
	known := now.Sub(p.wanted)
	if stands.rule != nil {
		known = max(known, now.Sub(stands.rule.GetCreationTimestamp().Time))
	}
	return settle - min(known, settle)
}

func (c *companions) forget(host hostname.Host) {
	if c.history.forget(host) {
		c.metrics.companionBlocked.Dec()
	}
}

// report tells, once, of companions whose name somebody else has taken. It is taken back.
func (c *companions) report(ctx context.Context, service *corev1.Service, stands standing, want inject.Companions) {
	var blocked []string
	for _, gvk := range stands.taken {
		if gvk == c.rule && want.Rule != nil || gvk == c.route && want.Route != nil {
			blocked = append(blocked, gvk.Kind)
		}
	}
	p := c.history.of(hostname.Host{Namespace: service.Namespace, Name: service.Name})
	if slices.Equal(p.blocked, blocked) {
		return
	}
	if len(p.blocked) == 0 {
		c.metrics.companionBlocked.Inc()
	}
	if p.blocked = blocked; len(blocked) == 0 {
		c.metrics.companionBlocked.Dec()
		return
	}
	name := inject.CompanionName(service.Name)
	for _, kind := range blocked {
		logf.FromContext(ctx).Info("the name of a companion was taken, and is taken back", "kind", kind, "taken", name)
		c.recorder.Eventf(service, nil, corev1.EventTypeWarning, "CompanionNameTaken", "MakeCompanion",
			"%s %s was made for another host, and is made the companion of the Service, because the name is reserved: what it held is in its annotation %s",
			kind, name, replacedAnnotation)
	}
}
