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
		ID: "destinationrule-locality-override",
		Summary: "A DestinationRule for a strict host must not have settings that replace the distribute of hold " +
			"locality.",
		Why: "Istio ignores a distribute beside enabled: false, and takes failover, failoverPriority or " +
			"zoneAwareLbSetting instead of it. Clients that the rule applies to are then sent to every cluster. " +
			"Admission leaves such a setting to whoever wrote it.",
		Fix:       "Remove the setting. Admission adds the localities of this cluster.",
		Rows:      []string{"B11"},
		Kinds:     []string{object.KindDestinationRule},
		Severity:  Deny,
		Otherwise: "clients that this rule applies to are sent to every cluster",
		Instead:   "remove the setting, and admission adds the localities of this cluster",
		check: func(o Write, view *policy.View) []breach {
			return gaps(o, view, func(g inject.Gap) bool { return g.Hold == policy.Locality && g.Blocked })
		},
	}
}
