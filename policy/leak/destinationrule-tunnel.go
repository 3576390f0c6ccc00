package leak

import (
	"fmt"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// destinationRuleTunnel refuses trafficPolicy.tunnel, which sends a strict host's traffic to another
// target [B13].
func destinationRuleTunnel() Rule {
	return Rule{
		ID:      "destinationrule-tunnel",
		Summary: "A DestinationRule for a strict host must not tunnel its traffic.",
		Why: "trafficPolicy.tunnel sends every connection to the targetHost by HTTP CONNECT. No hold covers that " +
			"target.",
		Fix:       "Remove the tunnel.",
		Rows:      []string{"B13"},
		Kinds:     []string{object.KindDestinationRule},
		Severity:  Deny,
		Otherwise: "the host's traffic is tunnelled to a target that no hold covers",
		Instead:   "remove the tunnel",
		check: func(o Write, view *policy.View) []breach {
			host, strict := strictHost(o.Object, view)
			if !strict {
				return nil
			}
			var found []breach
			for _, t := range trafficPolicies(o.DestinationRule) {
				if t.Tunnel == nil {
					continue
				}
				found = append(found, breach{
					path:  t.field("tunnel"),
					value: fmt.Sprintf("%s:%d", t.Tunnel.TargetHost, t.Tunnel.TargetPort),
					at:    t.at(),
					host:  host,
					must:  "not be set",
				})
			}
			return found
		},
	}
}
