package inject

import (
	"fmt"
	"maps"
	"slices"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// Distribute returns the distribute list that keeps each cluster's clients in its localities. With one
// cluster every client of this control plane is in it. With several there is one entry for each locality,
// and a closing one that gives clients of unknown locality nothing, so that they fail closed (docs/istio.md,
// section 2.2). The error is a *policy.LocalityError.
func Distribute(config *policy.Config) ([]object.Distribute, error) {
	var list []object.Distribute
	for _, cluster := range config.Clusters {
		to, err := config.Shares(cluster)
		if err != nil {
			return nil, err
		}
		if len(config.Clusters) == 1 {
			return []object.Distribute{{From: "*", To: to}}, nil
		}
		for _, from := range config.Localities[cluster] {
			list = append(list, object.Distribute{From: from, To: to})
		}
	}
	return append(list, object.Distribute{From: "*", To: map[string]int64{"none/none/none": 100}}), nil
}

// distribute sends the clients of each cluster to its own localities only; wanted is nil where a level must
// hold no distribute of ours. It cannot fix settings that beat or disable it: those stay gaps. Other weights
// than the wanted ones are no gap, because they let nothing out.
func (e *ruleEditor) distribute(l level, had added, has *added, wanted []object.Distribute) {
	if e.unknown != nil {
		e.leave(l, had, has)
		return
	}
	have := l.locality().Distribute
	path := l.at("loadBalancer", "localityLbSetting", "distribute")
	ours := e.ours(l, had)
	applies := wanted != nil && l.replaces()
	blocked := applies && e.blocked(l)
	switch {
	case ours && !blocked && !applies && len(had.Replaced) > 0:
		e.add(path, distributeValue(had.Replaced))
	case ours && (blocked || !applies):
		e.remove(path, l.created(had))
	case blocked || !applies:
	case !equalDistribute(have, wanted):
		e.add(path, distributeValue(wanted))
		if !slices.EqualFunc(have, wanted, sameLocalities) {
			e.gap(policy.Locality, path, nil, l.id, toOwn)
		}
		has.Distribute, has.Replaced = true, have
		if ours {
			has.Replaced = had.Replaced
		}
	case ours:
		has.Distribute, has.Replaced = true, had.Replaced
	}
	if has.Distribute {
		e.has.Distribute = wanted
	}
}

// toOwn completes "must".
const toOwn = "send each cluster's clients to its own localities"

// leave changes nothing at a level while nobody knows the localities: what an earlier admission put there
// stays, and so does its record. The value of the gap tells what is there from what replaces it, so that
// nobody can take it away meanwhile.
func (e *ruleEditor) leave(l level, had added, has *added) {
	have := l.locality().Distribute
	if e.ours(l, had) {
		has.Distribute, has.Replaced = true, had.Replaced
		e.has.Distribute = e.had.Distribute
	}
	if !l.replaces() || e.blocked(l) {
		return
	}
	var value any
	if len(have) > 0 {
		value = distributeValue(have)
	}
	path := l.at("loadBalancer", "localityLbSetting", "distribute")
	e.gap(policy.Locality, path, value, l.id, fmt.Sprintf("%s, but %s", toOwn, e.unknown))
	e.Gaps[len(e.Gaps)-1].Fix = "apply the object again once they are known"
}

// ours reports whether the level holds the distribute that an earlier admission put there.
func (e *ruleEditor) ours(l level, had added) bool {
	return had.Distribute && len(e.had.Distribute) > 0 && equalDistribute(l.locality().Distribute, e.had.Distribute)
}

// blocked reports the settings that Istio takes instead of a distribute, or refuses beside it (row B11 and
// ValidateLocalityLbSetting in Istio's pkg/config/validation/agent).
func (e *ruleEditor) blocked(l level) bool {
	n := len(e.Gaps)
	if l.zoneAware() {
		e.block(l, nil, "not be set, because it replaces localityLbSetting", "zoneAwareLbSetting")
	}
	if l.disabled() {
		e.block(l, false, "not be false", "localityLbSetting", "enabled")
	}
	if len(l.locality().Failover) > 0 {
		e.block(l, nil, "not be set, because Istio refuses it beside distribute", "localityLbSetting", "failover")
	}
	return len(e.Gaps) > n
}

// block reports a setting of a level's loadBalancer.
func (e *ruleEditor) block(l level, value any, must string, fields ...string) {
	path := l.at(append([]string{"loadBalancer"}, fields...)...)
	e.gap(policy.Locality, path, value, l.id+" "+fields[len(fields)-1], must)
	e.Gaps[len(e.Gaps)-1].Blocked = true
}

func equalDistribute(a, b []object.Distribute) bool {
	return slices.EqualFunc(a, b, func(x, y object.Distribute) bool { return x.From == y.From && maps.Equal(x.To, y.To) })
}

// sameLocalities reports whether both send the same clients to the same localities, however they weigh them.
func sameLocalities(a, b object.Distribute) bool {
	return a.From == b.From && maps.EqualFunc(a.To, b.To, func(int64, int64) bool { return true })
}

// distributeValue is the list as an edit holds it.
func distributeValue(list []object.Distribute) []any {
	value := make([]any, len(list))
	for i, d := range list {
		to := make(map[string]any, len(d.To))
		for locality, weight := range d.To {
			to[locality] = weight
		}
		value[i] = map[string]any{"from": d.From, "to": to}
	}
	return value
}
