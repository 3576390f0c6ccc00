package leak

import (
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/inject"
)

// destinationRuleUnfenced refuses a DestinationRule that lacks what the strongest active hold needs: another
// mutator took it out again, admission was not asked, or a setting stands in its way [B1, B2, B4, B6, B8 to B10].
func destinationRuleUnfenced() Rule {
	return Rule{
		ID:       "destinationrule-unfenced",
		Rows:     []string{"B1", "B2", "B4", "B6", "B8", "B9", "B10"},
		Kinds:    []string{policy.KindDestinationRule},
		Severity: Deny,
		Leaks:    "clients that this rule applies to are sent to every cluster",
		Mend:     "mend what is named here, and apply the object again so that admission adds the rest",
		check: func(o Write, view *policy.View) []breach {
			hold := policy.Subset
			if view.Config().Holds.Has(policy.Locality) {
				hold = policy.Locality
			}
			return gaps(o.Object, view, hold)
		},
	}
}

// gaps turns what a hold lacks in an object into breaches.
func gaps(o *policy.Object, view *policy.View, hold policy.Hold) []breach {
	var found []breach
	for _, g := range inject.Object(o, view).Gaps {
		if g.Hold == hold {
			found = append(found, breach{path: g.Path, value: g.Value, at: g.At, host: g.Host, must: g.Must})
		}
	}
	return found
}
