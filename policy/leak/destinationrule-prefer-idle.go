package leak

import (
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/object"
)

// destinationRulePreferIdle warns of settings that Istio takes instead of what admission adds for a prefer host: they
// stay, and prefer does nothing.
func destinationRulePreferIdle() Rule {
	return Rule{
		ID:      "destinationrule-prefer-idle",
		Summary: "A DestinationRule for a prefer host should not have settings that make the fence do nothing.",
		Why: "Istio takes a distribute, enabled: false, zoneAwareLbSetting or PASSTHROUGH instead of the " +
			"failoverPriority that admission adds. Clients may then be sent to another cluster although this one " +
			"has ready endpoints.",
		Fix:       "Remove the setting, and admission puts this cluster first. Or set the fence to none.",
		Kinds:     []string{object.KindDestinationRule},
		Severity:  Warn,
		Otherwise: "the fence does nothing here, and clients may be sent to another cluster while this one is ready",
		Instead:   "remove the setting, and admission puts this cluster first",
		Loosen:    "set the fence to none",
		check: func(o Write, view *policy.View) []breach {
			return breaches(o.gaps.of(o.Object, view).Idle, func(inject.Gap) bool { return true })
		},
	}
}
