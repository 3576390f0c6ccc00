package leak

import (
	"fmt"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// destinationRuleWildcardMixed refuses a wildcard rule that covers strict hosts and others: it cannot fence
// the ones without fencing the others [B7]. It passes where Istio takes the rule for a strict host, of which there is
// one in its own Namespace, instead (see yields).
func destinationRuleWildcardMixed() Rule {
	return Rule{
		ID:      "destinationrule-wildcard-mixed",
		Summary: "A DestinationRule with a wildcard must not cover strict hosts and other hosts.",
		Why: "One rule has one set of subsets and one traffic policy. It cannot keep some of its hosts in this " +
			"cluster and leave the others alone. A wildcard rule in the namespace of the Service passes if the " +
			"companion's exact host wins over it.",
		Fix:       "Write one rule for each host, or narrow the wildcard to hosts of one fence.",
		Rows:      []string{"B7"},
		Kinds:     []string{object.KindDestinationRule},
		Severity:  Deny,
		Otherwise: "clients that this rule applies to are sent to every cluster",
		Instead:   "write one rule for each host, or narrow the wildcard to hosts of one fence",
		check: func(o Write, view *policy.View) []breach {
			match := view.Match(hostname.Resolve(o.DestinationRule.Host, o.Metadata.Namespace, view.Config().ClusterDomain))
			if !match.Has(policy.Strict) || match.Only(policy.Strict) || yields(o.Object, view) {
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

// yields reports whether the rule for the exact host, of a user or the companion, wins against a wildcard for every
// client: in the Namespace of the Services the more specific host does, and Istio looks into its root Namespace last,
// at those that other Namespaces see (destinationRule and setDestinationRules in Istio's pilot/pkg/model/push_context.go).
func yields(o *object.Object, view *policy.View) bool {
	if inNamespace(o, view) {
		return true
	}
	return o.Metadata.Namespace == view.Config().IstioNamespace && o.DestinationRule.WorkloadSelector == nil && object.Public(o.DestinationRule.ExportTo)
}
