package leak

import (
	"fmt"
	"strconv"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// destinationRulePassthrough refuses loadBalancer.simple: PASSTHROUGH, which lets the client choose the
// address and voids every endpoint filter [B12].
func destinationRulePassthrough() Rule {
	return Rule{
		ID:      "destinationrule-passthrough",
		Summary: "A DestinationRule for a strict host must not have loadBalancer.simple: PASSTHROUGH.",
		Why: "With PASSTHROUGH the proxy sends a connection to whatever address the client asks for. Endpoints " +
			"are not looked at, so that no hold can filter them.",
		Fix:       "Remove the field, or choose another load balancer.",
		Rows:      []string{"B12"},
		Kinds:     []string{object.KindDestinationRule},
		Severity:  Deny,
		Otherwise: "a client reaches whatever address it asks for, in any cluster",
		Instead:   "remove the field or choose another load balancer",
		check: func(o Write, view *policy.View) []breach {
			host, strict := strictHost(o.Object, view)
			if !strict {
				return nil
			}
			var found []breach
			passes := func(lb *object.LoadBalancer) bool { return lb != nil && lb.Simple == "PASSTHROUGH" }
			add := func(path object.Path, at string) {
				found = append(found, breach{path: path, value: "PASSTHROUGH", at: at, host: host, must: "not be PASSTHROUGH"})
			}
			for _, t := range trafficPolicies(o.DestinationRule) {
				if passes(t.LoadBalancer) {
					add(t.field("loadBalancer", "simple"), t.at())
				}
				for i, port := range t.PortLevelSettings {
					if passes(port.LoadBalancer) {
						add(t.field("portLevelSettings", strconv.Itoa(i), "loadBalancer", "simple"), fmt.Sprintf("%s port %d", t.at(), port.Port.Number))
					}
				}
			}
			return found
		},
	}
}
