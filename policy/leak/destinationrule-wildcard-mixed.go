package leak

import (
	"fmt"

	"github.com/meshfence/meshfence/policy"
)

// destinationRuleWildcardMixed refuses a wildcard rule that covers strict hosts and others: it cannot fence
// the ones without fencing the others [B7].
func destinationRuleWildcardMixed() Rule {
	return Rule{
		ID:       "destinationrule-wildcard-mixed",
		Rows:     []string{"B7"},
		Kinds:    []string{policy.KindDestinationRule},
		Severity: Deny,
		Leaks:    "clients that this rule applies to are sent to every cluster",
		Mend:     "write one rule for each host, or narrow the wildcard to hosts of one fence",
		check: func(o Write, view *policy.View) []breach {
			match := view.Match(policy.Resolve(o.DestinationRule.Host, o.Metadata.Namespace, view.Config().ClusterDomain))
			if !match.Has(policy.Strict) || match.Only(policy.Strict) {
				return nil
			}
			other := policy.None
			if !match.Has(other) {
				other = policy.Prefer
			}
			return []breach{{
				path:  []string{"spec", "host"},
				value: o.DestinationRule.Host,
				host:  match.Host(policy.Strict),
				must: fmt.Sprintf("not cover both strict hosts and others such as %s (%s)",
					match.Host(other).Host, other),
			}}
		},
	}
}
