package leak

import (
	"github.com/meshfence/meshfence/policy"
)

// routeForeignBackend refuses a Gateway API route to what a strict Service is in all clusters together, and one
// that takes over the requests of a strict Service in the mesh and sends them, or copies of them, to anything
// that is not strict [C3, G3].
func routeForeignBackend() Rule {
	return Rule{
		ID:       "route-foreign-backend",
		Rows:     []string{"C3", "G3"},
		Kinds:    routeKinds(),
		Severity: Deny,
		Leaks:    "the requests go where no fence keeps them in this cluster",
		Mend:     "name a strict Service",
		check: func(o Write, view *policy.View) []breach {
			var found []breach
			for path, ref := range o.Route.Backends() {
				path = append(path, "name")
				if match := importMatch(ref, o.Metadata.Namespace, view); match.Has(policy.Strict) {
					found = append(found, breach{
						path: path, value: ref.Name, host: match.Host(policy.Strict),
						must: "not stand for a strict Service in all clusters",
					})
					continue
				}
				if match := backendMatch(ref, o.Metadata.Namespace, view); match.Has(policy.Strict) {
					continue
				}
				for _, parent := range o.Parents() {
					match := view.Match(parent.FQDN(view.Config().ClusterDomain))
					if match.Has(policy.Strict) {
						found = append(found, breach{
							path: path, value: ref.Name, at: ref.Namespace, host: match.Host(policy.Strict),
							must: "be a strict Service, because this route takes over the requests of one",
						})
					}
				}
			}
			return found
		},
	}
}
