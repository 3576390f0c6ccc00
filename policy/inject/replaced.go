package inject

import (
	"strings"

	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// Replaced lists the Services beside whose companion of its kind a DestinationRule or VirtualService leaves nothing to do,
// or less: the controller makes none, or one for the rest. They lie in its own Namespace.
//
// Of DestinationRules one with a workloadSelector leaves the clients that it does not select to the companion (row B6), a
// wildcard yields to an exact host (row B7), and Istio looks for a host as it is written (MostSpecificHostMatch in its
// pilot/pkg/model). Of VirtualServices one that is for gateways alone leaves the mesh to the companion, and one that only
// some Namespaces see the clients in the others: Istio puts it before the companion for those who see it (row C7).
func Replaced(o *object.Object, domain string) []hostname.Host {
	var names []string
	switch {
	case o.DestinationRule != nil && o.DestinationRule.WorkloadSelector == nil:
		names = []string{hostname.Resolve(o.DestinationRule.Host, o.Metadata.Namespace, domain)}
	case o.VirtualService != nil && o.VirtualService.InMesh() && object.Public(o.VirtualService.ExportTo):
		for _, name := range o.VirtualService.Hosts {
			names = append(names, strings.ToLower(hostname.Resolve(name, o.Metadata.Namespace, domain)))
		}
	}
	var replaced []hostname.Host
	for _, name := range names {
		if host, exact := hostname.Parse(name, domain); exact && host.Namespace == o.Metadata.Namespace {
			replaced = append(replaced, host)
		}
	}
	return replaced
}
