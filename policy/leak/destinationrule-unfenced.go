package leak

import (
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/object"
)

// destinationRuleUnfenced refuses a DestinationRule that lacks what the strongest active hold needs: another
// mutator took it out again, or admission was not asked [B1, B2, B4, B6, B8 to B10].
func destinationRuleUnfenced() Rule {
	return Rule{
		ID:      "destinationrule-unfenced",
		Summary: "A DestinationRule that can match a strict host must have what the active holds add.",
		Why: "Istio does not merge the rules of different namespaces: the one that it takes must hold by itself. " +
			"Admission adds what is missing. If it is still missing when the object is validated, another " +
			"webhook took it out again, or the mutating webhook was not asked.",
		Fix:       "Let no other webhook take out what admission adds. The controller brings existing rules in line.",
		Rows:      []string{"B1", "B2", "B4", "B6", "B8", "B9", "B10"},
		Kinds:     []string{object.KindDestinationRule},
		Severity:  Deny,
		Otherwise: "clients that this rule applies to are sent to every cluster",
		Instead:   "let no other webhook take out what admission adds; what exists without it is brought in line by the controller",
		check: func(o Write, view *policy.View) []breach {
			hold, config := policy.Subset, view.Config()
			if config.Holds.Has(policy.Locality) && !config.Active().Only(policy.Subset) {
				hold = policy.Locality
			}
			return gaps(o, view, func(g inject.Gap) bool { return g.Hold == hold && !g.Blocked })
		},
	}
}
