package leak

import (
	"fmt"
	"slices"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// networkOfTLSHidesHost refuses a ServiceEntry that claims the ClusterIP of a strict Service by a network, with a port of
// TLS where the Service has one of HTTP, for clients whose Sidecar sends what is for unknown hosts to a host that is not
// strict, or who listen on every address of the port for another ServiceEntry [D8, D12, I5]. Envoy takes the filter chain of
// the network before it looks whether that is of TLS, so that the host's requests meet none, and go there. So it does where a
// VirtualService has TLS routes for the network. Whichever comes second is refused. Without the one and the other they go on
// to where they were going.
func networkOfTLSHidesHost() Rule {
	return Rule{
		ID: "network-of-tls-hides-host",
		Summary: "A ServiceEntry must not claim the ClusterIP of a strict Service by a network with a TLS port, for " +
			"clients with an egress proxy or a TCP ServiceEntry on the port.",
		Why: "Envoy chooses a filter chain by the network before it looks for TLS. Plain requests for the host " +
			"meet no chain there, count as unknown, and go to the egressProxy of the client's Sidecar, or to a " +
			"TCP ServiceEntry without an address on that port. TLS routes of a VirtualService for the network do " +
			"the same. Whichever of the objects comes second is refused.",
		Fix:       "List narrower networks, take another port, or have the Sidecar name a strict host.",
		Rows:      []string{"D8", "D12", "I5"},
		Kinds:     []string{object.KindServiceEntry, object.KindVirtualService, object.KindSidecar},
		Severity:  Deny,
		Otherwise: "the requests of the Sidecar's clients for the host go to its egress proxy",
		Instead:   "list narrower networks, take another port, or have the Sidecar name a strict host",
		check: func(o Write, view *policy.View) []breach {
			switch {
			case o.Sidecar != nil:
				return slices.Concat(hiddenByNetworks(o.Object, view), importsBoth(o.Object, view))
			case o.VirtualService != nil:
				return slices.Concat(hiddenByNetworksOf(o.Object, view), besideOpenPorts(o.Object, view))
			}
			return slices.Concat(hiddenByNetworksOf(o.Object, view), besideOpenPorts(o.Object, view), besideTLSNetworks(o.Object, view))
		},
	}
}

// hiddenByNetworksOf judges a ServiceEntry or VirtualService.
func hiddenByNetworksOf(o *object.Object, view *policy.View) []breach {
	if !view.Proxied() {
		return nil
	}
	groups := tlsNetworksOf(o)
	if len(groups) == 0 {
		return nil
	}
	clients := slices.DeleteFunc(view.Importers(o.Metadata.Namespace, exportOf(o)), func(c policy.Clients) bool {
		return c.Sidecar == nil || !proxiesOut(c.Sidecar, view) || !knowsTLSNetwork(&c, o)
	})
	if len(clients) == 0 {
		return nil
	}
	sidecar := clients[0].Sidecar.Metadata
	var found []breach
	for _, group := range groups {
		for _, n := range group.networks {
			if host, strict := view.StrictAddress(n.prefix, group.ports()); strict {
				found = append(found, breach{
					path: n.path, value: n.text, at: fmt.Sprint(group.numbers), host: host,
					must: fmt.Sprintf("not contain the ClusterIP of a strict Service with the port for HTTP, while Sidecar %s/%s has an egress proxy",
						sidecar.Namespace, sidecar.Name),
				})
			}
		}
	}
	return found
}

// hiddenByNetworks judges a Sidecar.
func hiddenByNetworks(o *object.Object, view *policy.View) []breach {
	if !proxiesOut(o, view) {
		return nil
	}
	var found []breach
	clients := view.ClientsOf(o)
	for _, entry := range view.TLSNetworks() {
		listens := slices.ContainsFunc(clients, func(c policy.Clients) bool {
			beside := clientsBeside(&c, entry, view)
			return knowsTLSNetwork(&beside, entry)
		})
		if !listens {
			continue
		}
		var hosts []policy.FencedHost
		for _, group := range tlsNetworksOf(entry) {
			for _, n := range group.networks {
				if host, strict := view.StrictAddress(n.prefix, group.ports()); strict {
					hosts = append(hosts, host)
				}
			}
		}
		if len(hosts) == 0 {
			continue
		}
		name := entry.Metadata.Namespace + "/" + entry.Metadata.Name
		b := egressProxyBreach(o, policy.Together(hosts...), fmt.Sprintf(
			"be a strict host while %s %s has TLS for a network with the ClusterIP of another one, on a port of HTTP", entry.Kind, name))
		b.at = name
		found = append(found, b)
	}
	return found
}

// tlsPorts returns the ports of HTTP of Services that a ServiceEntry has for TLS, by a network.
func tlsPorts(e *object.ServiceEntry) policy.Ports {
	ports := policy.Ports{HTTP: true}
	if !e.HasNetwork() {
		return ports
	}
	for _, p := range e.Ports {
		if p.Transport() == object.TransportTLS {
			ports.Numbers = append(ports.Numbers, p.Number)
		}
	}
	slices.Sort(ports.Numbers)
	return ports
}

// listensForTLS reports whether clients know a ServiceEntry on a port of TLS.
func listensForTLS(c *policy.Clients, entry *object.Object) bool {
	isTLS := func(t object.Transport) bool { return t == object.TransportTLS }
	return slices.ContainsFunc(entry.ServiceEntry.Ports, func(p object.EntryPort) bool {
		return isTLS(p.Transport()) && slices.ContainsFunc(entry.ServiceEntry.Hosts, func(host string) bool { return c.Listen(entry, host, p, isTLS) })
	})
}
