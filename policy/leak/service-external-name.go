package leak

import "github.com/meshfence/meshfence/policy"

// externalName is the type of a Service that is but another name.
const externalName = "ExternalName"

// serviceExternalName refuses a strict Service that is only another name for something else [E3].
func serviceExternalName() Rule {
	return Rule{
		ID:       "service-external-name",
		Rows:     []string{"E3"},
		Kinds:    []string{policy.KindService},
		Severity: Deny,
		Leaks:    "the host's traffic follows a name that may resolve outside the cluster",
		Mend:     "use a Service with a selector",
		Loosen:   "loosen its fence",
		check: func(o Write, view *policy.View) []breach {
			service, strict := strictService(o.Object, view)
			if !strict || o.Service.Type != externalName {
				return nil
			}
			return []breach{{
				path:  []string{"spec", "type"},
				value: o.Service.Type,
				at:    o.Service.ExternalName,
				host:  service,
				must:  "not be ExternalName",
			}}
		},
	}
}
