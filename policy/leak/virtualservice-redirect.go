package leak

import (
	"fmt"
	"net"
	"slices"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// virtualServiceRedirect warns of a VirtualService that takes over the traffic of a strict host and tells its
// clients, or a gateway on the way, that it is for a host that is not strict, by itself or in the place of one that leaves
// requests to it [C11].
func virtualServiceRedirect() Rule {
	return Rule{
		ID:      "virtualservice-redirect",
		Summary: "A VirtualService for a strict host should not send its clients to a host that is not strict.",
		Why: "A redirect has the client ask another host. A rewritten authority, or a header beyond a gateway, " +
			"does the same on the way.",
		Fix:       "Name a strict host.",
		Rows:      []string{"C11"},
		Kinds:     []string{object.KindVirtualService},
		Severity:  Warn,
		Otherwise: "requests may go on to a host that no fence keeps in this cluster",
		Instead:   "name a strict host",
		check: func(o Write, view *policy.View) []breach {
			taken := o.takenOver(view)
			for _, root := range roots(o.Object, view) {
				taken = slices.Concat(taken, takenOver(root, view))
			}
			taken = bySection(taken, sectionHTTP)
			if len(taken) == 0 {
				return nil
			}
			host := together(taken)
			return append(sentOn(o.Object, host, view), sentOnByDelegates(o.Object, host, view)...)
		},
	}
}

// sentOn returns the places in a VirtualService that have requests ask for a host further on that is not strict.
func sentOn(o *object.Object, host policy.FencedHost, view *policy.View) []breach {
	var found []breach
	for path, authority := range o.VirtualService.Authorities() {
		if !authorityIsStrict(authority, o.Metadata.Namespace, view) {
			found = append(found, breach{path: path, value: authority, at: path[len(path)-2], host: host, must: "be a strict host"})
		}
	}
	return found
}

// sentOnByDelegates returns the delegates of a VirtualService that do so.
func sentOnByDelegates(o *object.Object, host policy.FencedHost, view *policy.View) []breach {
	var found []breach
	known := map[object.Delegate][]breach{}
	for path, d := range o.VirtualService.Delegates(o.Metadata.Namespace) {
		there, asked := known[d]
		if !asked {
			delegate, exists := view.Object(object.Key{Kind: object.KindVirtualService, Namespace: d.Namespace, Name: d.Name})
			if exists && len(delegate.VirtualService.Hosts) == 0 && sees(o, delegate) {
				there = sentOn(delegate, host, view)
			}
			known[d] = there
		}
		if len(there) > 0 {
			name := d.Namespace + "/" + d.Name
			found = append(found, breach{
				path: path, value: name, at: name, host: host, must: fmt.Sprintf("not name %s, which has requests ask for %s", name, there[0].value),
			})
		}
	}
	return found
}

// authorityIsStrict reports whether a name with or without a port is one by which a strict Service is asked for.
func authorityIsStrict(authority, namespace string, view *policy.View) bool {
	if host, _, err := net.SplitHostPort(authority); err == nil {
		authority = host
	}
	_, strict := claimed(authority, namespace, view)
	return strict
}
