package leak

import (
	"fmt"
	"strings"

	"github.com/meshfence/meshfence/policy"
)

// serviceInvalidFence refuses a fence that meshfence does not know, on a Service or a Namespace, before it
// counts as absent.
func serviceInvalidFence() Rule {
	return Rule{
		ID:       "service-invalid-fence",
		Kinds:    []string{policy.KindService, policy.KindNamespace},
		Severity: Deny,
		Leaks:    "it counts as absent and fences nothing",
		check: func(o Write, _ *policy.View) []breach {
			field, set := "annotations", o.Metadata.Annotations
			if o.Kind == policy.KindNamespace {
				field, set = "labels", o.Metadata.Labels
			}
			value, present := set[policy.FenceKey]
			if _, known := policy.ParseFence(value); !present || known {
				return nil
			}
			return []breach{{
				path:  []string{"metadata", field, policy.FenceKey},
				value: value,
				must:  fmt.Sprintf("be one of %s", strings.Join(policy.Fences(), ", ")),
			}}
		},
	}
}
