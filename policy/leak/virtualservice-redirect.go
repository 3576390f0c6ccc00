package leak

import (
	"net"
	"strconv"

	"github.com/meshfence/meshfence/policy"
)

// virtualServiceRedirect warns of a VirtualService that takes over the traffic of a strict host and tells its
// clients, or a gateway on the way, that it is for a host that is not strict [C11].
func virtualServiceRedirect() Rule {
	return Rule{
		ID:       "virtualservice-redirect",
		Rows:     []string{"C11"},
		Kinds:    []string{policy.KindVirtualService},
		Severity: Warn,
		Leaks:    "requests may go on to a host that no fence keeps in this cluster",
		Mend:     "name a strict host",
		check: func(o Write, view *policy.View) []breach {
			taken := bySection(o.takenOver(view), sectionHTTP)
			if len(taken) == 0 {
				return nil
			}
			var found []breach
			add := func(i int, field, authority string) {
				if authority == "" || authorityIsStrict(authority, o.Metadata.Namespace, view) {
					return
				}
				found = append(found, breach{
					path:  []string{"spec", "http", strconv.Itoa(i), field, "authority"},
					value: authority,
					at:    field,
					host:  together(taken),
					must:  "be a strict host",
				})
			}
			for i, route := range o.VirtualService.HTTP {
				if route.Redirect != nil {
					add(i, "redirect", route.Redirect.Authority)
				}
				if route.Rewrite != nil {
					add(i, "rewrite", route.Rewrite.Authority)
				}
			}
			return found
		},
	}
}

// authorityIsStrict says that a name with or without a port is one by which a strict Service is asked for.
func authorityIsStrict(authority, namespace string, view *policy.View) bool {
	if host, _, err := net.SplitHostPort(authority); err == nil {
		authority = host
	}
	_, strict := claimed(authority, namespace, view)
	return strict
}
