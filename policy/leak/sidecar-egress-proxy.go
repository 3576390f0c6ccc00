package leak

import (
	"fmt"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// sidecarEgressProxy refuses a Sidecar that sends what is for unknown hosts to a strict host without a subset, or
// with one of another cluster, where subset is the only hold [I3].
func sidecarEgressProxy() Rule {
	return Rule{
		ID: "sidecar-egress-proxy",
		Summary: "The egress proxy of a Sidecar must not be a strict host without a subset where subset is the only " +
			"hold.",
		Why: "What is for unknown hosts goes to the egressProxy. Without a subset that means its Pods in every " +
			"cluster.",
		Fix:       "Name the subset meshfence-local.",
		Rows:      []string{"I3"},
		Kinds:     []string{object.KindSidecar},
		Severity:  Deny,
		Otherwise: "what is for unknown hosts goes to that host's Pods in every cluster",
		Instead:   fmt.Sprintf("name subset %s", policy.ReservedSubset),
		check: func(o Write, view *policy.View) []breach {
			outbound := o.Sidecar.OutboundTrafficPolicy
			if outbound == nil || outbound.EgressProxy == nil {
				return nil
			}
			proxy := outbound.EgressProxy
			match := view.Match(proxy.Host)
			if !match.Has(policy.Strict) || proxy.Subset == policy.ReservedSubset {
				return nil
			}
			must := "name a subset of this cluster"
			if proxy.Subset != "" {
				must = newForeignSubsets(view).of(proxy.Host, proxy.Subset)
			}
			if must == "" {
				return nil
			}
			return []breach{{
				path:  []string{"spec", "outboundTrafficPolicy", "egressProxy", "subset"},
				value: proxy.Subset,
				host:  match.Host(policy.Strict),
				must:  must,
			}}
		},
	}
}
