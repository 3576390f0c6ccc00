package leak

import (
	"strconv"
	"strings"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// strictHost returns the strict host that a DestinationRule applies to, if there is one.
func strictHost(o *object.Object, view *policy.View) (policy.FencedHost, bool) {
	match := view.Match(hostname.Resolve(o.DestinationRule.Host, o.Metadata.Namespace, view.Config().ClusterDomain))
	return match.Host(policy.Strict), match.Has(policy.Strict)
}

// inNamespace reports whether the host of a DestinationRule, or all that a wildcard covers, lies in its own Namespace.
func inNamespace(o *object.Object, view *policy.View) bool {
	domain := view.Config().ClusterDomain
	host := strings.ToLower(strings.TrimSuffix(hostname.Resolve(o.DestinationRule.Host, o.Metadata.Namespace, domain), "."))
	return strings.HasSuffix(host, "."+o.Metadata.Namespace+".svc."+domain)
}

// trafficPolicy is one trafficPolicy of a DestinationRule: the top one, or that of a subset.
type trafficPolicy struct {
	// subset is the index of its subset and name the name of that; the index is negative for the top one.
	subset int
	name   string
	*object.TrafficPolicy
}

// trafficPolicies lists the trafficPolicies that a DestinationRule has.
func trafficPolicies(rule *object.DestinationRule) []trafficPolicy {
	list := make([]trafficPolicy, 0, 1+len(rule.Subsets))
	if rule.TrafficPolicy != nil {
		list = append(list, trafficPolicy{-1, "", rule.TrafficPolicy})
	}
	for i, s := range rule.Subsets {
		if s.TrafficPolicy != nil {
			list = append(list, trafficPolicy{i, s.Name, s.TrafficPolicy})
		}
	}
	return list
}

// at names it by its subset.
func (t trafficPolicy) at() string {
	if t.subset < 0 {
		return ""
	}
	return "subset " + t.name
}

// field returns the path of a field in it.
func (t trafficPolicy) field(fields ...string) object.Path {
	if t.subset < 0 {
		return append(object.Path{"spec", "trafficPolicy"}, fields...)
	}
	return append(object.Path{"spec", "subsets", strconv.Itoa(t.subset), "trafficPolicy"}, fields...)
}
