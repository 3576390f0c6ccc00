package leak

import (
	"iter"

	"github.com/meshfence/meshfence/policy"
)

// routeBypassesSubset refuses an Ingress or a Gateway API route that sends requests, or copies of them, to a
// strict Service where subset is the only hold: it can name no subset, and admission cannot give it one [A5].
func routeBypassesSubset() Rule {
	return Rule{
		ID:       "route-bypasses-subset",
		Rows:     []string{"A5"},
		Kinds:    append(routeKinds(), policy.KindIngress),
		Severity: Deny,
		Leaks:    "its requests go to the Service's Pods in every cluster",
		Mend: "route by a VirtualService, or add hold meshConfig or locality; " +
			"where another controller than Istio reads the object, add an exemption to the FenceConfig",
		check: func(o Write, view *policy.View) []breach {
			var found []breach
			for path, backend := range backends(o.Object, view) {
				if backend.match.Has(policy.Strict) {
					found = append(found, breach{
						path:  path,
						value: backend.name,
						host:  backend.match.Host(policy.Strict),
						must:  "not be a strict Service, because no subset can be named here",
					})
				}
			}
			return found
		},
	}
}

// namedBackend is the name of where an object sends requests to, and what that stands for.
type namedBackend struct {
	name  string
	match policy.Match
}

// backends yields the backends of an Ingress or a Route with the paths of their names.
func backends(o *policy.Object, view *policy.View) iter.Seq2[[]string, namedBackend] {
	return func(yield func([]string, namedBackend) bool) {
		if o.Ingress != nil {
			for path, name := range o.Ingress.Backends() {
				service := policy.Host{Namespace: o.Metadata.Namespace, Name: name}
				if !yield(path, namedBackend{name, view.Match(service.FQDN(view.Config().ClusterDomain))}) {
					return
				}
			}
			return
		}
		for path, ref := range o.Route.Backends() {
			if !yield(append(path, "name"), namedBackend{ref.Name, backendMatch(ref, o.Metadata.Namespace, view)}) {
				return
			}
		}
	}
}
