package leak

import (
	"strings"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// routeForeignBackend refuses a Gateway API route to what a strict Service is in all clusters together, and one
// that takes over the requests of a strict Service, in the mesh or by its name at a Gateway, and sends them, or copies of
// them, to anything that is not strict, or is in name alone [C3, C15, C17, G3].
func routeForeignBackend() Rule {
	return Rule{
		ID:      "route-foreign-backend",
		Summary: "A Gateway API route that takes over the requests of a strict Service must lead to strict Services.",
		Why: "A route with a Service as its parent replaces that Service's own routes in the mesh, and one with its " +
			"name, or a wildcard over it, among the hostnames takes what is for it at a Gateway. A backend that " +
			"is not strict, or that stands for the Service in all clusters, such as a ServiceImport, lets the " +
			"requests out.",
		Fix:       "Name a strict Service as the backend.",
		Rows:      []string{"C3", "C15", "C17", "G3"},
		Kinds:     routeKinds(),
		Severity:  Deny,
		Otherwise: "the requests go where no fence keeps them in this cluster",
		Instead:   "name a strict Service",
		check: func(o Write, view *policy.View) []breach {
			var found []breach
			to, from := newDestinations(view), newTakeover(append(strictParents(o.Object, view), strictHostnames(o.Object, view)...))
			for path, ref := range o.Route.Backends() {
				path = append(path, "name")
				if match := importMatch(ref, o.Metadata.Namespace, view); match.Has(policy.Strict) {
					found = append(found, breach{
						path: path, value: ref.Name, host: match.Host(policy.Strict),
						must: "not stand for a strict Service in all clusters",
					})
					continue
				}
				if len(from.hosts) == 0 {
					continue
				}
				if must, excuses, hosts, foreign := foreignBackend(ref, o.Metadata.Namespace, from, to); foreign {
					found = append(found, breach{
						path: path, value: ref.Name, at: ref.Namespace, host: hosts, excuses: excuses,
						must: must + ", because this route takes over the requests of one",
					})
				}
			}
			return ofReader(found, o.Object, view, "the requests go where no fence keeps them in this cluster")
		},
	}
}

// strictParents lists the strict Services whose requests a Route takes over.
func strictParents(o *object.Object, view *policy.View) []policy.FencedHost {
	var hosts []policy.FencedHost
	for _, parent := range o.Parents() {
		if match := view.Match(parent.FQDN(view.Config().ClusterDomain)); match.Has(policy.Strict) {
			hosts = append(hosts, match.Host(policy.Strict))
		}
	}
	return hosts
}

// strictHostnames lists the strict hosts whose requests a Route takes over at a Gateway. Istio completes none of these names,
// and a wildcard counts as in a VirtualService of a Gateway.
func strictHostnames(o *object.Object, view *policy.View) []policy.FencedHost {
	var hosts []policy.FencedHost
	for _, name := range o.GatewayHostnames() {
		if strings.Contains(name, ".") {
			takeName(name, o, view, insideDomain(name, view), func(host policy.FencedHost, _ string) { hosts = append(hosts, host) })
		}
	}
	return hosts
}

// foreignBackend returns what a backend must be that is no fence for the requests of strict Services, and for which of
// them, if it is none.
func foreignBackend(ref object.Reference, namespace string, from *takeover, to *destinations) (must string, excuses []excuse, hosts policy.FencedHost, foreign bool) {
	match := backendMatch(ref, namespace, to.view)
	if !match.Has(policy.Strict) {
		return "be a strict Service", nil, from.whole, true
	}
	d, hosts, foreign := to.from(from, match.Host(policy.Strict).Host, namespace)
	return d.must(), d.excuses, hosts, foreign
}
