package inject

import (
	"fmt"
	"strconv"

	"github.com/meshfence/meshfence/policy/object"
)

// level is one place of a DestinationRule whose settings Istio takes instead of those above it.
type level struct {
	// id names the level by subset and port, for the record.
	id   string
	path object.Path
	// absent reports whether the rule has no trafficPolicy at this level.
	absent   bool
	settings object.PolicySettings
	// whole reports whether Istio inherits nothing into this level (GetPortLevelTrafficPolicy in Istio's
	// pilot/pkg/networking/util); where it is false only what the level sets itself replaces.
	whole bool
	// shared reports whether subsets inherit from the level.
	shared bool
}

// levels lists the top level, whether or not the rule has a trafficPolicy, and every level below it.
// The subsets have the names that the record knows them by.
func levels(rule *object.DestinationRule, subsets []string) []level {
	top := level{id: "top", path: []string{"spec", "trafficPolicy"}, absent: true, whole: true, shared: true}
	list := top.with(rule.TrafficPolicy, "")
	for i, s := range rule.Subsets {
		if s.TrafficPolicy != nil {
			subset := level{id: "subset " + subsets[i], path: []string{"spec", "subsets", strconv.Itoa(i), "trafficPolicy"}}
			list = append(list, subset.with(s.TrafficPolicy, subset.id+" ")...)
		}
	}
	return list
}

// with returns the level as a trafficPolicy fills it, and those of the policy's ports.
func (l level) with(p *object.TrafficPolicy, prefix string) []level {
	if p == nil {
		return []level{l}
	}
	l.absent, l.settings = false, p.PolicySettings
	list := []level{l}
	ports := names{}
	for i, port := range p.PortLevelSettings {
		list = append(list, level{
			id:       prefix + ports.next(fmt.Sprintf("port %d", port.Port.Number)),
			path:     l.at("portLevelSettings", strconv.Itoa(i)),
			settings: port.PolicySettings,
			whole:    true,
			shared:   l.shared,
		})
	}
	return list
}

func (l level) at(fields ...string) []string {
	return append(l.path[:len(l.path):len(l.path)], fields...)
}

// replaces reports whether Istio takes the loadBalancer of this level, present or not, instead of one above it.
func (l level) replaces() bool { return l.whole || l.settings.LoadBalancer != nil }

// locality returns the level's localityLbSetting, or an empty one.
func (l level) locality() object.LocalitySetting {
	if l.settings.LoadBalancer == nil || l.settings.LoadBalancer.Locality == nil {
		return object.LocalitySetting{}
	}
	return *l.settings.LoadBalancer.Locality
}

// zoneAware reports whether a zoneAwareLbSetting is set, which beats any localityLbSetting (row B11).
func (l level) zoneAware() bool {
	return l.settings.LoadBalancer != nil && bool(l.settings.LoadBalancer.ZoneAware)
}

// disabled reports whether Istio ignores the localityLbSetting (row B11).
func (l level) disabled() bool {
	enabled := l.locality().Enabled
	return enabled != nil && !*enabled
}

// create says how many of localityLbSetting, loadBalancer and trafficPolicy an edit has to create.
func (l level) create() int {
	switch {
	case l.absent:
		return 3
	case l.settings.LoadBalancer == nil:
		return 2
	case l.settings.LoadBalancer.Locality == nil:
		return 1
	}
	return 0
}

// created returns what the record says of create, within what the level allows.
func (l level) created(had added) int {
	most := 2
	if l.id == "top" {
		most = 3
	}
	return min(max(had.Created, 0), most)
}
