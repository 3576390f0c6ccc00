package leak

import (
	"fmt"
	"slices"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// virtualServiceOpensEntry refuses a VirtualService that sends the connections of a ServiceEntry to a host that is not
// strict, where the ServiceEntry resolves nothing, and sidecars listen for it on addresses of strict Services: by itself
// it would let them go on to where they were going [D8, I8, I11]. Where it has but what is no HTTP on a port of HTTP [D12],
// that is a warning. The ServiceEntry is judged where it comes second.
func virtualServiceOpensEntry() Rule {
	return Rule{
		ID: "virtualservice-opens-entry",
		Summary: "A VirtualService must not send on to other hosts what a ServiceEntry takes from the address of a " +
			"strict Service.",
		Why: "A ServiceEntry that resolves nothing lets connections go on to where they were going, which is " +
			"harmless. A VirtualService for its host sends them elsewhere. The ServiceEntry is refused instead " +
			"if it comes second.",
		Fix:       "Name a strict host, or give the ServiceEntry an address of its own.",
		Rows:      []string{"D8", "D12", "I8", "I11"},
		Kinds:     []string{object.KindVirtualService},
		Severity:  Deny,
		Otherwise: "what clients send to the host's address goes to that destination",
		Instead:   "name a strict host, or give the ServiceEntry an address of its own",
		check: func(o Write, view *policy.View) []breach {
			if !redirectsTCP(o.Object, o.destinations(view)) {
				return nil
			}
			var found []breach
			for _, entry := range unresolved(o.Object, view) {
				hosts := takenIfResolved(entry, view)
				beside, shares := sharesHTTPPort(entry, view)
				if len(hosts) == 0 && !shares {
					continue
				}
				name := entry.Metadata.Namespace + "/" + entry.Metadata.Name
				b := breach{
					path: []string{"spec", "tcp"}, at: name, host: policy.Together(hosts...),
					must: fmt.Sprintf("send the connections of ServiceEntry %s to strict hosts alone", name),
				}
				if len(hosts) == 0 {
					b.host, b.unsure = beside, true
					b.otherwise = "what clients send to the host's port of HTTP that is not HTTP goes to that destination"
				}
				found = append(found, b)
			}
			return found
		},
	}
}

// unresolved lists the ServiceEntries that resolve nothing and whose hosts a VirtualService speaks for.
func unresolved(o *object.Object, view *policy.View) []*object.Object {
	var entries []*object.Object
	seen := map[object.Key]bool{}
	add := func(other *object.Object) {
		if other.ServiceEntry != nil && !seen[other.Key()] && !other.ServiceEntry.Resolves() && speaksFor(o, other) {
			seen[other.Key()] = true
			entries = append(entries, other)
		}
	}
	for _, port := range view.OpenPorts() {
		for _, entry := range view.Opening(port) {
			add(entry)
		}
	}
	for _, port := range view.ListenerPorts() { // those that a listener of a Sidecar opens
		for _, entry := range view.Bare(port) {
			add(entry)
		}
	}
	return entries
}

// speaksFor reports whether a VirtualService has a host of a ServiceEntry among its own.
func speaksFor(o, entry *object.Object) bool {
	for _, host := range entry.ServiceEntry.Hosts {
		if o.VirtualService.SpeaksFor(host) {
			return true
		}
	}
	return false
}

// sharesHTTPPort returns the strict hosts that have a port for HTTP on which clients listen on every address for a
// ServiceEntry.
func sharesHTTPPort(entry *object.Object, view *policy.View) (policy.FencedHost, bool) {
	ports := policy.Ports{HTTP: true}
	for _, p := range entry.ServiceEntry.OpenPorts() {
		ports.Numbers = append(ports.Numbers, p.Number)
	}
	if len(ports.Numbers) == 0 || len(entry.ServiceEntry.Addresses) > 0 {
		return policy.FencedHost{}, false
	}
	return view.StrictPort(ports)
}

// takenIfResolved lists the strict hosts whose traffic a ServiceEntry would take if it had endpoints.
func takenIfResolved(entry *object.Object, view *policy.View) []policy.FencedHost {
	entry = resolved(entry)
	return slices.Concat(takenByAddress(entry, view), takenByPort(entry, view, false), takenByPort(entry, view, true))
}
