package leak

import (
	"slices"
	"strconv"

	"github.com/meshfence/meshfence/policy"
)

// virtualServiceForeignHost refuses a VirtualService that takes over the traffic of a strict host and sends
// it to a host that is not strict, or to a delegate whose routes it does not show [C3 to C6].
func virtualServiceForeignHost() Rule {
	return Rule{
		ID:       "virtualservice-foreign-host",
		Rows:     []string{"C3", "C4", "C5", "C6"},
		Kinds:    []string{policy.KindVirtualService},
		Severity: Deny,
		Leaks:    "the host's traffic goes where no fence keeps it in this cluster",
		Mend:     "fence that destination too, or name another one",
		check: func(o Write, view *policy.View) []breach {
			host, strict := routedStrictHost(o.Object, view)
			if !strict {
				return nil
			}
			var found []breach
			for path, d := range o.VirtualService.Destinations() {
				target := policy.Resolve(d.Host, o.Metadata.Namespace, view.Config().ClusterDomain)
				if match := view.Match(target); !match.Has(policy.Strict) {
					found = append(found, breach{
						path: append(path, "host"), value: d.Host, at: d.Host, host: host, must: "be a strict host",
					})
				}
			}
			for i, route := range o.VirtualService.HTTP {
				if d := route.Delegate; d != nil {
					found = append(found, breach{
						path:  []string{"spec", "http", strconv.Itoa(i), "delegate"},
						value: d.Namespace + "/" + d.Name,
						host:  host,
						must:  "not be set, because the routes of a delegate cannot be judged here",
					})
				}
			}
			return found
		},
	}
}

// routedStrictHost returns a strict host whose traffic the VirtualService takes over. One that is bound to
// gateways only routes what arrives there, so a wildcard in it takes over nothing.
func routedStrictHost(o *policy.Object, view *policy.View) (policy.FencedHost, bool) {
	vs := o.VirtualService
	mesh := forMesh(vs)
	for _, h := range vs.Hosts {
		if _, wildcard := policy.Wildcard(h); wildcard && !mesh {
			continue
		}
		if host, strict := claimed(h, o.Metadata.Namespace, view); strict {
			return host, true
		}
	}
	return policy.FencedHost{}, false
}

// forMesh says that a VirtualService is for sidecars, and not for gateways alone.
func forMesh(vs *policy.VirtualService) bool {
	return len(vs.Gateways) == 0 || slices.Contains(vs.Gateways, "mesh")
}
