package inject

import (
	"bytes"
	"encoding/json"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// prefer puts the client's cluster first in failoverPriority and adds the outlier detection without which
// Istio ignores it. What a user set stays, and where that beats or disables failoverPriority nothing of
// ours does: that is idle.
func (e *ruleEditor) prefer(l level, had added, has *added, wanted bool) {
	list := l.locality().FailoverPriority
	path := l.at("loadBalancer", "localityLbSetting", "failoverPriority")
	first := len(list) > 0 && list[0] == policy.ClusterLabel
	outlier := isSet(l.settings.OutlierDetection)
	had.FailoverPriority = had.FailoverPriority && first
	had.OutlierDetection = had.OutlierDetection && equalJSON(l.settings.OutlierDetection, defaultOutlierDetection())

	own := l.locality().Distribute
	if e.ours(l, had) {
		own = had.Replaced
	}
	if wanted = wanted && l.replaces(); wanted {
		wanted = !e.idle(l, own)
	}
	if !wanted {
		if had.FailoverPriority {
			e.remove(append(path, "0"), 1+l.created(had))
		}
		if had.OutlierDetection {
			e.remove(l.at("outlierDetection"), max(l.created(had)-2, 0))
		}
		e.bare = e.bare || l.shared && (!outlier || had.OutlierDetection)
		return
	}
	switch {
	case list == nil:
		e.add(path, []any{policy.ClusterLabel})
	case !first:
		e.add(append(path, "0"), policy.ClusterLabel)
	}
	has.FailoverPriority = !first || had.FailoverPriority
	has.OutlierDetection = had.OutlierDetection
	if !outlier && (l.whole || e.bare) {
		e.add(l.at("outlierDetection"), defaultOutlierDetection())
		has.OutlierDetection = true
	}
}

// idle reports the settings of a level that Istio takes instead of failoverPriority (FailoverPriorityLabels and
// GetEffectiveLbSetting in its pilot/pkg/networking/core/loadbalancer, and the type of the cluster that PASSTHROUGH
// makes, in its pilot/pkg/networking/core/cluster_traffic_policy.go).
func (e *ruleEditor) idle(l level, own []object.Distribute) bool {
	n := len(e.Idle)
	add := func(set bool, value any, must string, fields ...string) {
		if set {
			e.Idle = append(e.Idle, Gap{
				Lacking: LacksFailover, Path: l.at(append([]string{"loadBalancer"}, fields...)...), Value: value,
				At: l.id + " " + fields[len(fields)-1], Host: e.preferred, Must: must, Blocked: true,
			})
		}
	}
	add(l.zoneAware(), nil, "not be set, because Istio takes it instead of localityLbSetting", "zoneAwareLbSetting")
	add(l.disabled(), false, "not be false, because Istio then looks at no failoverPriority", "localityLbSetting", "enabled")
	add(len(own) > 0, nil, "not be set, because Istio takes it instead of failoverPriority", "localityLbSetting", "distribute")
	add(l.settings.LoadBalancer != nil && l.settings.LoadBalancer.Simple == "PASSTHROUGH", "PASSTHROUGH",
		"not be PASSTHROUGH, because each client then goes to whatever address it asks for", "simple")
	return len(e.Idle) > n
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

func isSet(value json.RawMessage) bool { return len(value) > 0 && !bytes.Equal(value, []byte("null")) }

func equalJSON(have json.RawMessage, want any) bool {
	var got any
	if !isSet(have) || json.Unmarshal(have, &got) != nil {
		return false
	}
	a, errA := json.Marshal(got)
	b, errB := json.Marshal(want)
	return errA == nil && errB == nil && bytes.Equal(a, b)
}
