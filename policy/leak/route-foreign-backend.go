package leak

import (
	"github.com/meshfence/meshfence/policy"
)

// routeForeignBackend refuses a Gateway API route to what a strict Service is in all clusters together, and one
// that takes over the requests of a strict Service in the mesh and sends them, or copies of them, to anything
// that is not strict, or is in name alone [C3, C15, C17, G3].
func routeForeignBackend() Rule {
	return Rule{
		ID:       "route-foreign-backend",
		Rows:     []string{"C3", "C15", "C17", "G3"},
		Kinds:    routeKinds(),
		Severity: Deny,
		Leaks:    "the requests go where no fence keeps them in this cluster",
		Mend:     "name a strict Service",
		check: func(o Write, view *policy.View) []breach {
			var found []breach
			to := newDestinations(view)
			for path, ref := range o.Route.Backends() {
				path = append(path, "name")
				if match := importMatch(ref, o.Metadata.Namespace, view); match.Has(policy.Strict) {
					found = append(found, breach{
						path: path, value: ref.Name, host: match.Host(policy.Strict),
						must: "not stand for a strict Service in all clusters",
					})
					continue
				}
				for _, parent := range o.Parents() {
					match := view.Match(parent.FQDN(view.Config().ClusterDomain))
					if !match.Has(policy.Strict) {
						continue
					}
					if must, excuses, foreign := foreignBackend(ref, o.Metadata.Namespace, match.Host(policy.Strict), to); foreign {
						found = append(found, breach{
							path: path, value: ref.Name, at: ref.Namespace, host: match.Host(policy.Strict), excuses: excuses,
							must: must + ", because this route takes over the requests of one",
						})
					}
				}
			}
			return found
		},
	}
}

// foreignBackend returns what a backend must be that is no fence for the requests of a strict Service, if it is none.
func foreignBackend(ref policy.Reference, namespace string, taken policy.FencedHost, to *destinations) (must string, excuses []excuse, foreign bool) {
	match := backendMatch(ref, namespace, to.view)
	if !match.Has(policy.Strict) {
		return "be a strict Service", nil, true
	}
	d, foreign := to.of(taken, match.Host(policy.Strict).Host, namespace)
	return d.must(), d.excuses, foreign
}
