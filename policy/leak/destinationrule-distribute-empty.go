package leak

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// destinationRuleDistributeEmpty warns of a distribute for a strict host that sends clients here to localities of other
// clusters alone, whose endpoints the active hold takes away. Hold locality puts its own in the place.
func destinationRuleDistributeEmpty() Rule {
	return Rule{
		ID:      "destinationrule-distribute-empty",
		Summary: "A distribute for a strict host should leave clients here at least one locality of this cluster.",
		Why: "The distribute sends clients to localities of other clusters alone. The active hold takes those " +
			"endpoints away, and none is left. Nothing leaks, but calls fail.",
		Fix:       "List localities of this cluster in the distribute, or set the fence of the host to none.",
		Kinds:     []string{object.KindDestinationRule},
		Severity:  Warn,
		Otherwise: "clients there have no endpoint, and calls fail",
		Instead:   "list localities of this cluster",
		Loosen:    "set the fence of the host to none",
		check: func(o Write, view *policy.View) []breach {
			config := view.Config()
			if config.Active() == 0 || config.Holds.Has(policy.Locality) {
				return nil
			}
			host, strict := strictHost(o.Object, view)
			if !strict {
				return nil
			}
			var found []breach
			judge := func(lb *object.LoadBalancer, empty []int, path object.Path, at string) {
				for _, i := range empty {
					found = append(found, breach{
						path: append(slices.Clone(path), "localityLbSetting", "distribute", strconv.Itoa(i), "to"),
						at:   at + " from " + lb.Locality.Distribute[i].From,
						host: host,
						must: "hold a locality that is not of another cluster",
					})
				}
			}
			for _, t := range trafficPolicies(o.DestinationRule) {
				if empty := emptyDistributes(t.LoadBalancer, config); len(empty) > 0 {
					judge(t.LoadBalancer, empty, t.field("loadBalancer"), t.at())
				}
				for i, port := range t.PortLevelSettings {
					if empty := emptyDistributes(port.LoadBalancer, config); len(empty) > 0 {
						judge(port.LoadBalancer, empty, t.field("portLevelSettings", strconv.Itoa(i), "loadBalancer"),
							fmt.Sprintf("%s port %d", t.at(), port.Port.Number))
					}
				}
			}
			return found
		},
	}
}

// emptyDistributes returns the indexes of the entries of a distribute that may be for clients here and that lead to
// other clusters alone, as the FenceConfig lists their localities. Of several entries Istio takes the first for the
// client (applyLocalityWeights in its pilot/pkg/networking/core/loadbalancer).
func emptyDistributes(lb *object.LoadBalancer, config *policy.Config) []int {
	if lb == nil || lb.Locality == nil || lb.Locality.Enabled != nil && !*lb.Locality.Enabled {
		return nil
	}
	var found []int
	for i, d := range lb.Locality.Distribute {
		if _, elsewhere := config.OtherCluster(d.From); elsewhere || len(d.To) == 0 {
			continue
		}
		empty := true
		for locality := range d.To {
			_, other := config.OtherCluster(locality)
			empty = empty && other
		}
		if empty {
			found = append(found, i)
		}
		if d.From == "*" {
			break
		}
	}
	return found
}
