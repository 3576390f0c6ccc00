package leak

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// resolvedBeside reports whether a ServiceEntry that resolves nothing may send what it takes to the endpoints of something
// else of its host in its Namespace: of two clusters with one name istiod sends the first (normalizeClusters in its
// pilot/pkg/networking/core/cluster_builder.go). Services come and go, and so do their ports, so that any name of one counts.
func resolvedBeside(o *object.Object, view *policy.View) bool {
	return slices.ContainsFunc(o.ServiceEntry.Hosts, func(name string) bool {
		service, inside := hostname.Parse(hostname.Canonical(name), view.Config().ClusterDomain)
		return inside && service.Namespace == o.Metadata.Namespace || len(besides(o, name, view, true)) > 0
	})
}

// besides lists the other ServiceEntries of a Namespace that have a host on one of the same ports, those that resolve it or
// those that do not.
func besides(o *object.Object, name string, view *policy.View, resolving bool) []*object.Object {
	if _, wildcard := hostname.Wildcard(name); wildcard {
		return nil
	}
	same := func(other string) bool { return hostname.Canonical(other) == hostname.Canonical(name) }
	shared := func(p object.EntryPort) bool { _, ok := o.ServiceEntry.Port(p.Number); return ok }
	return slices.DeleteFunc(view.Covering(name), func(other *object.Object) bool {
		return other.ServiceEntry == nil || other.Metadata.Namespace != o.Metadata.Namespace || other.Key() == o.Key() ||
			other.ServiceEntry.Resolves() != resolving || !slices.ContainsFunc(other.ServiceEntry.Hosts, same) ||
			!slices.ContainsFunc(other.ServiceEntry.Ports, shared)
	})
}

// opened lists the hosts of a ServiceEntry that others have which resolve nothing, and by which strict hosts would be taken
// if they did, as takes says.
func opened(o *object.Object, view *policy.View, takes func(entry *object.Object) []policy.FencedHost) []breach {
	if !o.ServiceEntry.Resolves() {
		return nil
	}
	var found []breach
	for i, name := range o.ServiceEntry.Hosts {
		for _, entry := range besides(o, name, view, false) {
			hosts := takes(resolved(entry))
			if len(hosts) == 0 {
				continue
			}
			of := entry.Metadata.Namespace + "/" + entry.Metadata.Name
			found = append(found, breach{
				path: []string{"spec", "hosts", strconv.Itoa(i)}, value: name, at: of, host: policy.Together(hosts...),
				must: fmt.Sprintf("not be a host of ServiceEntry %s, which takes what is for a strict host and by itself lets it go on", of),
			})
		}
	}
	return found
}

// resolved returns a ServiceEntry as it would be if it had endpoints.
func resolved(entry *object.Object) *object.Object {
	spec := *entry.ServiceEntry
	spec.Resolution = "STATIC"
	return &object.Object{Kind: entry.Kind, Metadata: entry.Metadata, ServiceEntry: &spec}
}

// takenByAddress lists the strict hosts that a ServiceEntry takes by its addresses.
func takenByAddress(entry *object.Object, view *policy.View) []policy.FencedHost {
	var hosts []policy.FencedHost
	for _, b := range claimedAddresses(entry, view) {
		hosts = append(hosts, b.host)
	}
	return hosts
}

// takenByPort lists the strict hosts that a ServiceEntry takes from clients that do not know them.
func takenByPort(entry *object.Object, view *policy.View, ported bool) []policy.FencedHost {
	var hosts []policy.FencedHost
	for _, c := range caughtByEntry(entry, view, ported) {
		hosts = append(hosts, c.host)
	}
	return hosts
}
