package inject

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/meshfence/meshfence/policy"
)

// level is one place of a DestinationRule whose settings Istio takes instead of those above it.
type level struct {
	// id names the level by subset and port, for the record.
	id       string
	path     []string
	settings policy.PolicySettings
	// whole says that Istio inherits nothing into this level (GetPortLevelTrafficPolicy in Istio's
	// pilot/pkg/networking/util); where it is false only what the level sets itself replaces.
	whole bool
}

// levels lists the top level, whether or not the rule has a trafficPolicy, and every level below it.
func levels(rule *policy.DestinationRule) []level {
	list := policyLevels(nil, "", []string{"spec", "trafficPolicy"}, rule.TrafficPolicy, true)
	for i, s := range rule.Subsets {
		if s.TrafficPolicy != nil {
			path := []string{"spec", "subsets", strconv.Itoa(i), "trafficPolicy"}
			list = policyLevels(list, "subset "+s.Name, path, s.TrafficPolicy, false)
		}
	}
	return list
}

func policyLevels(list []level, id string, path []string, p *policy.TrafficPolicy, whole bool) []level {
	if p == nil {
		return append(list, level{id: id, path: path, whole: whole})
	}
	list = append(list, level{id: id, path: path, settings: p.PolicySettings, whole: whole})
	for i, port := range p.PortLevelSettings {
		portID := fmt.Sprintf("port %d", port.Port.Number)
		if id != "" {
			portID = id + " " + portID
		}
		list = append(list, level{
			id:       portID,
			path:     append(path[:len(path):len(path)], "portLevelSettings", strconv.Itoa(i)),
			settings: port.PolicySettings,
			whole:    true,
		})
	}
	return list
}

func (l level) at(fields ...string) []string {
	return append(l.path[:len(l.path):len(l.path)], fields...)
}

// locality returns the level's localityLbSetting, or an empty one.
func (l level) locality() policy.LocalitySetting {
	if l.settings.LoadBalancer == nil || l.settings.LoadBalancer.Locality == nil {
		return policy.LocalitySetting{}
	}
	return *l.settings.LoadBalancer.Locality
}

// zoneAware says that a zoneAwareLbSetting is set, which beats any localityLbSetting (row B11).
func (l level) zoneAware() bool {
	return l.settings.LoadBalancer != nil && isSet(l.settings.LoadBalancer.ZoneAware)
}

func isSet(value json.RawMessage) bool { return len(value) > 0 && !bytes.Equal(value, []byte("null")) }

// distribute sends the clients of each cluster to its own localities only; wanted is nil where a level must
// hold no distribute of ours. It cannot mend settings that stand in its way: those stay a gap.
func (e *ruleEditor) distribute(l level, wanted []policy.Distribute) {
	setting := l.locality()
	path := l.at("loadBalancer", "localityLbSetting", "distribute")
	ours := slices.Contains(e.had.Distribute, l.id)
	if wanted == nil {
		if ours && setting.Distribute != nil {
			e.Edits = append(e.Edits, Edit{Path: path, Prune: l.parents(2)})
		}
		return
	}
	if !l.whole && l.settings.LoadBalancer == nil {
		return
	}
	blocked := l.zoneAware() || len(setting.Failover) > 0 || setting.Enabled != nil && !*setting.Enabled
	done := equalDistribute(setting.Distribute, wanted)
	if !done && !blocked {
		e.Edits = append(e.Edits, Edit{Path: path, Value: distributeValue(wanted)})
	}
	if ours && done || !done && !blocked {
		e.has.Distribute = append(e.has.Distribute, l.id)
	}
	if !done || blocked {
		must := "send each cluster's clients to its own localities, with no failover, zoneAwareLbSetting or enabled: false beside it"
		e.gap(policy.Locality, path, nil, l.id, must)
	}
}

// parents says how many parents above loadBalancer/... may be pruned: a list item never is.
func (l level) parents(inner int) int {
	if _, err := strconv.Atoi(l.path[len(l.path)-1]); err == nil {
		return inner
	}
	return inner + 1
}

// prefer puts the client's cluster first in failoverPriority and adds the outlier detection without which
// Istio ignores it. What a person set stays.
func (e *ruleEditor) prefer(l level, wanted bool) {
	setting := l.locality()
	list := l.at("loadBalancer", "localityLbSetting", "failoverPriority")
	first := len(setting.FailoverPriority) > 0 && setting.FailoverPriority[0] == policy.ClusterLabel
	oursFirst := first && slices.Contains(e.had.FailoverPriority, l.id)
	outlier := l.at("outlierDetection")
	oursOutlier := slices.Contains(e.had.OutlierDetection, l.id) && equalJSON(l.settings.OutlierDetection, defaultOutlierDetection())
	if !wanted {
		if oursFirst {
			e.Edits = append(e.Edits, Edit{Path: append(list, "0"), Prune: 1 + l.parents(2)})
		}
		if oursOutlier {
			e.Edits = append(e.Edits, Edit{Path: outlier, Prune: l.parents(0)})
		}
		return
	}
	distributed := setting.Distribute != nil && !slices.Contains(e.had.Distribute, l.id)
	own := l.zoneAware() || distributed || setting.Enabled != nil && !*setting.Enabled
	if own || !l.whole && l.settings.LoadBalancer == nil {
		return
	}
	if !first {
		if setting.FailoverPriority == nil {
			e.Edits = append(e.Edits, Edit{Path: list, Value: []any{policy.ClusterLabel}})
		} else {
			e.Edits = append(e.Edits, Edit{Path: append(list, "0"), Value: policy.ClusterLabel})
		}
	}
	if !first || oursFirst {
		e.has.FailoverPriority = append(e.has.FailoverPriority, l.id)
	}
	if !l.whole {
		return // outlierDetection is inherited
	}
	if !isSet(l.settings.OutlierDetection) {
		e.Edits = append(e.Edits, Edit{Path: outlier, Value: defaultOutlierDetection()})
	}
	if !isSet(l.settings.OutlierDetection) || oursOutlier {
		e.has.OutlierDetection = append(e.has.OutlierDetection, l.id)
	}
}

// defaultOutlierDetection ejects an endpoint after five errors in a row and, unlike Envoy's default of 10
// percent, may eject all of them, so that failover can happen.
func defaultOutlierDetection() map[string]any {
	return map[string]any{
		"consecutive5xxErrors": int64(5),
		"interval":             "10s",
		"baseEjectionTime":     "30s",
		"maxEjectionPercent":   int64(100),
	}
}

func equalJSON(have json.RawMessage, want any) bool {
	var got any
	if !isSet(have) || json.Unmarshal(have, &got) != nil {
		return false
	}
	a, errA := json.Marshal(got)
	b, errB := json.Marshal(want)
	return errA == nil && errB == nil && bytes.Equal(a, b)
}
