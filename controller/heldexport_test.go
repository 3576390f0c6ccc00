package controller

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/events"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// LookForUnheld returns what looks for strict Services that nothing holds.
func LookForUnheld(index *policy.Index, recorder events.EventRecorder, registerer prometheus.Registerer) (func(context.Context, time.Time) time.Duration, error) {
	m, err := newMetrics(registerer)
	if err != nil {
		return nil, err
	}
	u := &unheld{index: index, recorder: recorder, metrics: m, grace: heldGrace, since: map[hostname.Host]time.Time{}, told: map[hostname.Host]string{}}
	return u.look, nil
}

// LacksReserved is lacksReserved of rules by name, of which each has the reserved subset or not.
func LacksReserved(names []string, reserved map[string]bool) string {
	var rules []storedRule
	for _, name := range names {
		rules = append(rules, storedRule{name, reserved[name]})
	}
	return lacksReserved(rules)
}

// SendUnmended has the board told so many times that an object came back from admission as it was, and then that it is in
// line.
func SendUnmended(times int, recorder events.EventRecorder, registerer prometheus.Registerer) error {
	m, err := newMetrics(registerer)
	if err != nil {
		return err
	}
	rule := objectOf(schema.GroupVersionKind{Group: "networking.istio.io", Version: "v1", Kind: object.KindDestinationRule})
	rule.SetName("reviews")
	j := &job{target: targetOf(rule), stub: rule}
	b := newBoard(m, recorder)
	for range times {
		b.set(j, orPending(result{state: stateDone}, errUnmended))
	}
	b.set(j, result{state: stateDone})
	return nil
}
