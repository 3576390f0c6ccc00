package leak

import (
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// routeRedirect warns of an HTTPRoute that takes over the requests of a strict Service in the mesh and tells its clients to
// ask a host that is not strict [C11]. A rewritten hostname changes what the backend reads, and not where requests go.
func routeRedirect() Rule {
	return Rule{
		ID:      "route-redirect",
		Summary: "An HTTPRoute for a strict Service should not send its clients to a host that is not strict.",
		Why: "A route with a Service as its parent answers that Service's requests. The sidecar of the client answers " +
			"with the redirect itself, and the client asks the other host, which may be anywhere.",
		Fix:       "Name a strict host.",
		Rows:      []string{"C11"},
		Kinds:     []string{object.KindHTTPRoute},
		Severity:  Warn,
		Otherwise: "clients ask a host that no fence keeps in this cluster",
		Instead:   "name a strict host",
		check: func(o Write, view *policy.View) []breach {
			hosts := strictParents(o.Object, view)
			if len(hosts) == 0 {
				return nil
			}
			var found []breach
			for path, hostname := range o.Route.Redirects() {
				if !authorityIsStrict(hostname, o.Metadata.Namespace, view) {
					found = append(found, breach{path: path, value: hostname, at: path[len(path)-2], host: policy.Together(hosts...), must: "be a strict host"})
				}
			}
			return found
		},
	}
}
