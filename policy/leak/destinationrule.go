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
	path object.Path
	// at names it by its subset.
	at string
	*object.TrafficPolicy
}

// trafficPolicies lists the trafficPolicies that a DestinationRule has.
func trafficPolicies(rule *object.DestinationRule) []trafficPolicy {
	var list []trafficPolicy
	if rule.TrafficPolicy != nil {
		list = append(list, trafficPolicy{[]string{"spec", "trafficPolicy"}, "", rule.TrafficPolicy})
	}
	for i, s := range rule.Subsets {
		if s.TrafficPolicy != nil {
			path := []string{"spec", "subsets", strconv.Itoa(i), "trafficPolicy"}
			list = append(list, trafficPolicy{path, "subset " + s.Name, s.TrafficPolicy})
		}
	}
	return list
}

func (t trafficPolicy) field(fields ...string) []string {
	return append(t.path[:len(t.path):len(t.path)], fields...)
}
