package leak

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// tlsNetworks are networks for which an object has filter chains of TLS alone on some ports: what is for an address in one of
// them and is no TLS meets none of the chains for every address.
type tlsNetworks struct {
	// numbers are the ports, sorted; none for any.
	numbers  []int64
	networks []tlsNetwork
}

// tlsNetwork is one of them, and where it is.
type tlsNetwork struct {
	path   []string
	text   string
	prefix netip.Prefix
}

// tlsNetworksOf lists those of a ServiceEntry or VirtualService.
func tlsNetworksOf(o *object.Object) []tlsNetworks {
	if o.ServiceEntry != nil {
		all := tlsNetworks{numbers: tlsPorts(o.ServiceEntry).Numbers}
		if len(all.numbers) == 0 {
			return nil
		}
		for i, address := range o.ServiceEntry.Addresses {
			if prefix, ok := object.Network(address); ok && !prefix.IsSingleIP() {
				all.networks = append(all.networks, tlsNetwork{[]string{"spec", "addresses", strconv.Itoa(i)}, address, prefix})
			}
		}
		return []tlsNetworks{all}
	}
	var found []tlsNetworks
	if !o.VirtualService.InMesh() {
		return nil
	}
	for path, subnet := range o.VirtualService.Subnets() {
		prefix, ok := object.Network(subnet.Network)
		if !ok || path[1] != "tls" {
			continue
		}
		one := tlsNetworks{networks: []tlsNetwork{{path, subnet.Network, prefix}}}
		if subnet.Port != 0 {
			one.numbers = []int64{subnet.Port}
		}
		found = append(found, one)
	}
	return found
}

// ports are those of HTTP that the networks may hide.
func (n tlsNetworks) ports() policy.Ports { return policy.Ports{HTTP: true, Numbers: n.numbers} }

// besideOpenPorts judges what has TLS networks while clients who know it listen on every address of a port for a
// ServiceEntry, to which everything goes that meets no other filter chain.
func besideOpenPorts(o *object.Object, view *policy.View) []breach {
	groups := tlsNetworksOf(o)
	if len(groups) == 0 {
		return nil
	}
	var found []breach
	var importers []policy.Clients
	opening := func(port int64) (name string, open bool) {
		for _, entry := range view.Opening(port) {
			if importers == nil {
				importers = view.Importers(o.Metadata.Namespace, exportOf(o))
			}
			if goesElsewhere(entry, view) && shareClients(importers, o, entry, port, view) {
				return entry.Metadata.Namespace + "/" + entry.Metadata.Name, true
			}
		}
		return "", false
	}
	for _, group := range groups {
		numbers, ports, by := group.numbers, policy.Ports{HTTP: true}, ""
		if len(numbers) == 0 {
			numbers = view.OpenPorts()
		}
		for _, port := range numbers {
			if name, open := opening(port); open {
				ports.Numbers, by = append(ports.Numbers, port), name
			}
		}
		if len(ports.Numbers) == 0 {
			continue
		}
		for _, n := range group.networks {
			if host, strict := view.StrictAddress(n.prefix, ports); strict {
				found = append(found, openBreach(breach{
					path: n.path, value: n.text, at: fmt.Sprint(ports.Numbers), host: host,
					must: "not contain the ClusterIP of a strict Service with the port for HTTP, while ServiceEntry " + by + " has clients listen on every address of that port",
				}))
			}
		}
	}
	return found
}

// besideTLSNetworks judges a ServiceEntry that has clients listen on every address of a port, while something that they know
// has a TLS network.
func besideTLSNetworks(o *object.Object, view *policy.View) []breach {
	open := openPorts(o, view)
	others := view.TLSNetworks()
	if len(open) == 0 || len(others) == 0 {
		return nil
	}
	importers := view.Importers(o.Metadata.Namespace, o.ServiceEntry.ExportTo)
	var found []breach
	for _, p := range open {
		if _, strict := view.StrictPort(policy.Ports{HTTP: true, Numbers: []int64{p.Number}}); !strict {
			continue
		}
		for _, other := range others {
			host, hidden := hiddenOn(p.Number, other, view)
			if !hidden || !shareClients(importers, other, o, p.Number, view) {
				continue
			}
			name := fmt.Sprintf("%s %s/%s", other.Kind, other.Metadata.Namespace, other.Metadata.Name)
			found = append(found, openBreach(breach{
				path: portPath(o, p), value: p.Number, at: name, host: host,
				must: "not be a port on which " + name + " has TLS for a network with the ClusterIP of a strict Service that has the port for HTTP",
			}))
			break
		}
	}
	return found
}

// importsBoth judges a Sidecar whose clients come to know both a TLS network and a ServiceEntry that has them listen on every
// address of a port.
func importsBoth(o *object.Object, view *policy.View) []breach {
	networks := view.TLSNetworks()
	if len(networks) == 0 {
		return nil
	}
	clients := view.ClientsOf(o)
	var found []breach
	for _, port := range view.OpenPorts() {
		for _, network := range networks {
			host, hidden := hiddenOn(port, network, view)
			if !hidden {
				continue
			}
			i := slices.IndexFunc(view.Opening(port), func(entry *object.Object) bool {
				return goesElsewhere(entry, view) && shareClients(clients, network, entry, port, view)
			})
			if i < 0 {
				continue
			}
			entry := view.Opening(port)[i].Metadata
			found = append(found, openBreach(breach{
				path: []string{"spec", "egress"}, value: port, at: fmt.Sprintf("%s/%s", entry.Namespace, entry.Name), host: host,
				must: fmt.Sprintf("not import both ServiceEntry %s/%s, for which clients listen on every address of port %d, and %s %s/%s, which has TLS "+
					"for a network with the ClusterIP of a strict Service that has the port for HTTP",
					entry.Namespace, entry.Name, port, network.Kind, network.Metadata.Namespace, network.Metadata.Name),
			}))
		}
	}
	return found
}

// hiddenOn returns the strict hosts whose requests on a port of HTTP meet no filter chain because of the TLS networks of an
// object.
func hiddenOn(port int64, o *object.Object, view *policy.View) (policy.FencedHost, bool) {
	var hosts []policy.FencedHost
	for _, group := range tlsNetworksOf(o) {
		if len(group.numbers) > 0 && !slices.Contains(group.numbers, port) {
			continue
		}
		for _, n := range group.networks {
			if host, strict := view.StrictAddress(n.prefix, policy.Ports{HTTP: true, Numbers: []int64{port}}); strict {
				hosts = append(hosts, host)
			}
		}
	}
	return policy.Together(hosts...), len(hosts) > 0
}

func openBreach(b breach) breach {
	b.otherwise = "the requests of those clients for the host go to the endpoints of the ServiceEntry"
	b.instead = "list narrower networks, take another port, or give the ServiceEntry an address"
	return b
}

// shareClients reports whether some of the clients know both what has a TLS network, and a ServiceEntry on a port.
func shareClients(clients []policy.Clients, network, entry *object.Object, port int64, view *policy.View) bool {
	p, ok := entry.ServiceEntry.Port(port)
	return ok && slices.ContainsFunc(clients, func(c policy.Clients) bool {
		c = clientsBeside(&c, entry, view)
		c = clientsBeside(&c, network, view)
		listens := slices.ContainsFunc(entry.ServiceEntry.Hosts, func(host string) bool { return c.Listen(entry, host, p, object.Transport.Open) })
		return listens && knowsTLSNetwork(&c, network)
	})
}

// knowsTLSNetwork reports whether clients have the TLS of an object.
func knowsTLSNetwork(c *policy.Clients, o *object.Object) bool {
	if o.ServiceEntry != nil {
		return listensForTLS(c, o)
	}
	return object.Exported(o.VirtualService.ExportTo, o.Metadata.Namespace, c.Namespace)
}
