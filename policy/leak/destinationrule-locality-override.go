package leak

import (
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/object"
)

// destinationRuleLocalityOverride refuses settings that Istio takes instead of the distribute of hold locality,
// or does not take beside it: admission leaves them to whoever set them [B11].
func destinationRuleLocalityOverride() Rule {
	return Rule{
		ID:       "destinationrule-locality-override",
		Rows:     []string{"B11"},
		Kinds:    []string{object.KindDestinationRule},
		Severity: Deny,
		Leaks:    "clients that this rule applies to are sent to every cluster",
		Mend:     "remove the setting, and admission adds the localities of this cluster",
		check: func(o Write, view *policy.View) []breach {
			return gaps(o, view, func(g inject.Gap) bool { return g.Hold == policy.Locality && g.Blocked })
		},
	}
}
