package leak

import (
	"fmt"
	"strings"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// serviceInvalidFence refuses a value that meshfence does not know, before it counts as absent: of the fence on a
// Service or a Namespace, and of the enforcement on a Namespace.
func serviceInvalidFence() Rule {
	return Rule{
		ID:      "service-invalid-fence",
		Summary: "The value of a fence or of an enforcement must be one that meshfence knows.",
		Why: "An unknown value in an annotation or a label counts as absent. The user would believe in a fence " +
			"that is not there.",
		Fix:       "Use strict, prefer or none for a fence, and enforce, warn or audit for an enforcement.",
		Kinds:     []string{object.KindService, object.KindNamespace},
		Severity:  Deny,
		Otherwise: "it counts as absent",
		check: func(o Write, _ *policy.View) []breach {
			if o.Service != nil {
				return unknownFence("annotations", o.Metadata.Annotations)
			}
			found := unknownFence("labels", o.Metadata.Labels)
			value, present := o.Metadata.Labels[policy.EnforcementLabel]
			if _, known := policy.ParseEnforcement(value); present && !known {
				found = append(found, unknownValue("labels", policy.EnforcementLabel, value, policy.Enforcements()))
			}
			return found
		},
	}
}

func unknownFence(field string, set map[string]string) []breach {
	value, present := set[policy.FenceKey]
	if _, known := policy.ParseFence(value); !present || known {
		return nil
	}
	return []breach{unknownValue(field, policy.FenceKey, value, policy.Fences())}
}

func unknownValue(field, key, value string, known []string) breach {
	return breach{
		path:  []string{"metadata", field, key},
		value: value,
		at:    key,
		must:  fmt.Sprintf("be one of %s", strings.Join(known, ", ")),
	}
}
