package inject

import (
	"maps"
	"slices"

	"github.com/meshfence/meshfence/policy"
)

// Distribute returns the distribute list that keeps each cluster's clients in its localities. With one
// cluster every client of this control plane is in it. With several there is one entry for each locality,
// and a closing one that gives clients of unknown locality nothing, so that they fail closed (catalogue
// section 2.2).
func Distribute(config *policy.Config) []policy.Distribute {
	if len(config.Clusters) == 1 {
		return []policy.Distribute{{From: "*", To: shares(config.Localities[config.Clusters[0]])}}
	}
	var list []policy.Distribute
	for _, cluster := range config.Clusters {
		localities := config.Localities[cluster]
		for _, from := range localities {
			list = append(list, policy.Distribute{From: from, To: shares(localities)})
		}
	}
	return append(list, policy.Distribute{From: "*", To: map[string]int64{"none/none/none": 100}})
}

// shares splits 100 percent evenly; what does not divide goes to the first.
func shares(localities []string) map[string]int64 {
	n := int64(len(localities))
	to := make(map[string]int64, n)
	for i, l := range localities {
		to[l] = 100 / n
		if int64(i) < 100%n {
			to[l]++
		}
	}
	return to
}

// distribute sends the clients of each cluster to its own localities only; wanted is nil where a level must
// hold no distribute of ours. It cannot mend settings that beat or disable it: those stay gaps.
func (e *ruleEditor) distribute(l level, had added, has *added, wanted []policy.Distribute) {
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
		e.gap(policy.Locality, path, nil, l.id, "send each cluster's clients to its own localities")
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

// ours says that the level holds the distribute that an earlier admission put there.
func (e *ruleEditor) ours(l level, had added) bool {
	return had.Distribute && len(e.had.Distribute) > 0 && equalDistribute(l.locality().Distribute, e.had.Distribute)
}

// blocked reports the settings that Istio takes instead of a distribute, or refuses beside it (row B11 and
// ValidateLocalityLbSetting in Istio's pkg/config/validation/agent).
func (e *ruleEditor) blocked(l level) bool {
	n := len(e.Gaps)
	if l.zoneAware() {
		e.gap(policy.Locality, l.at("loadBalancer", "zoneAwareLbSetting"), nil, l.id, "not be set, because it replaces localityLbSetting")
	}
	if l.disabled() {
		e.gap(policy.Locality, l.at("loadBalancer", "localityLbSetting", "enabled"), false, l.id, "not be false")
	}
	if len(l.locality().Failover) > 0 {
		e.gap(policy.Locality, l.at("loadBalancer", "localityLbSetting", "failover"), nil, l.id, "not be set, because Istio refuses it beside distribute")
	}
	return len(e.Gaps) > n
}

func equalDistribute(a, b []policy.Distribute) bool {
	return slices.EqualFunc(a, b, func(x, y policy.Distribute) bool { return x.From == y.From && maps.Equal(x.To, y.To) })
}

// distributeValue is the list as an edit holds it.
func distributeValue(list []policy.Distribute) []any {
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
