package leak

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// serviceWithoutSelector refuses a strict Service whose endpoints nobody but users writes [E1].
func serviceWithoutSelector() Rule {
	return Rule{
		ID:      "service-without-selector",
		Summary: "A strict Service must have a selector.",
		Why: "Without one, users write its endpoints by hand. istiod takes them for endpoints of this cluster, " +
			"whatever their addresses. Hold locality drops them, because they have no locality.",
		Fix:       "Let a selector choose the Pods of the Service, or loosen the fence.",
		Rows:      []string{"E1"},
		Kinds:     []string{object.KindService},
		Severity:  Deny,
		Otherwise: "its traffic goes to whatever addresses users write into its endpoints, which pass for local ones",
		Instead:   "let a selector choose its Pods",
		Loosen:    "loosen its fence",
		check: func(o Write, view *policy.View) []breach {
			if len(o.Service.Selector) > 0 || o.Service.Type == string(corev1.ServiceTypeExternalName) {
				return nil
			}
			service, strict := strictService(o.Object, view)
			if !strict {
				return nil
			}
			return []breach{{path: []string{"spec", "selector"}, host: service, must: "be set"}}
		},
	}
}
