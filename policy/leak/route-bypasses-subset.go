package leak

import (
	"fmt"
	"iter"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// routeBypassesSubset refuses an Ingress or a Gateway API route that sends requests, or copies of them, to a
// strict Service where subset is the only hold: it can name no subset, and admission cannot give it one [A5]. What
// another controller than Istio reads is none of the mesh's.
func routeBypassesSubset() Rule {
	return Rule{
		ID:      "route-bypasses-subset",
		Summary: "An Ingress or a Gateway API route must not lead to a strict Service where subset is the only hold.",
		Why: "Such a route can name no subset, and admission cannot give it one. It leads to the Pods of the " +
			"Service in every cluster. A route that another controller than Istio reads passes.",
		Fix:       "Route by a VirtualService, or add hold meshConfig or locality.",
		Rows:      []string{"A5"},
		Kinds:     append(routeKinds(), object.KindIngress),
		Severity:  Deny,
		Otherwise: "its requests go to the Service's Pods in every cluster",
		Instead:   "route by a VirtualService, or add hold meshConfig or locality",
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
			return ofReader(found, o.Object, view, "its requests go to the Service's Pods in every cluster")
		},
	}
}

// ofReader returns what is wrong with an Ingress or a Route, which is nothing where another controller than Istio reads
// it. Where that is not known it says so beside what leaks.
func ofReader(found []breach, o *object.Object, view *policy.View, leaks string) []breach {
	if len(found) == 0 {
		return nil
	}
	reader := view.Reader(o)
	if !reader.Istio {
		return nil
	}
	for i := range found {
		if reader.Unsure != "" {
			found[i].otherwise = fmt.Sprintf("%s if Istio reads this %s, which is assumed because %s", leaks, o.Kind, reader.Unsure)
		}
	}
	return found
}

// namedBackend is the name of where an object sends requests to, and what that stands for.
type namedBackend struct {
	name  string
	match policy.Match
}

// backends yields the backends of an Ingress or a Route with the paths of their names.
func backends(o *object.Object, view *policy.View) iter.Seq2[object.Path, namedBackend] {
	return func(yield func(object.Path, namedBackend) bool) {
		if o.Ingress != nil {
			for path, name := range o.Ingress.Backends() {
				service := hostname.Host{Namespace: o.Metadata.Namespace, Name: name}
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
