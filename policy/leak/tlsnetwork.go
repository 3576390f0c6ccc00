package leak

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// tlsNetwork is a network for which an object has filter chains of TLS alone, on a port or on any: what is for an address in it
// and is no TLS meets none of the chains for every address.
type tlsNetwork struct {
	path   []string
	text   string
	prefix netip.Prefix
	port   int64
}

// tlsNetworksOf lists those of a ServiceEntry or VirtualService.
func tlsNetworksOf(o *object.Object) []tlsNetwork {
	var found []tlsNetwork
	add := func(path []string, text string, port int64, single bool) {
		if prefix, ok := object.Network(text); ok && (single || !prefix.IsSingleIP()) {
			found = append(found, tlsNetwork{path, text, prefix, port})
		}
	}
	if o.ServiceEntry != nil {
		for _, port := range tlsPorts(o.ServiceEntry).Numbers {
			for i, address := range o.ServiceEntry.Addresses {
				add([]string{"spec", "addresses", strconv.Itoa(i)}, address, port, false)
			}
		}
	}
	if o.VirtualService != nil && o.VirtualService.InMesh() {
		for path, subnet := range o.VirtualService.Subnets() {
			if path[1] == "tls" {
				add(path, subnet.Network, subnet.Port, true)
			}
		}
	}
	return found
}

// hides returns the strict hosts whose requests on a port of HTTP meet no filter chain because of the network.
func (n tlsNetwork) hides(port int64, view *policy.View) (policy.FencedHost, bool) {
	if n.port != 0 && n.port != port {
		return policy.FencedHost{}, false
	}
	return view.StrictAddress(n.prefix, policy.Ports{HTTP: true, Numbers: []int64{port}})
}

// besideOpenPorts judges what has a TLS network while clients who know it listen on every address of a port for a
// ServiceEntry, to which everything goes that meets no other filter chain.
func besideOpenPorts(o *object.Object, view *policy.View) []breach {
	var found []breach
	var importers []policy.Clients
	for _, n := range tlsNetworksOf(o) {
		ports := []int64{n.port}
		if n.port == 0 {
			ports = view.OpenPorts()
		}
		for _, port := range ports {
			host, strict := n.hides(port, view)
			if !strict {
				continue
			}
			if importers == nil {
				importers = view.Importers(o.Metadata.Namespace, exportOf(o))
			}
			for _, entry := range view.Opening(port) {
				if goesElsewhere(entry, view) && shareClients(importers, o, entry, port, view) {
					name := entry.Metadata.Namespace + "/" + entry.Metadata.Name
					found = append(found, openBreach(breach{
						path: n.path, value: n.text, at: fmt.Sprint(port, name), host: host,
						must: fmt.Sprintf("not contain the ClusterIP of a strict Service with port %d for HTTP, while ServiceEntry %s has clients listen on every address of that port", port, name),
					}))
					break
				}
			}
		}
	}
	return found
}

// besideTLSNetworks judges a ServiceEntry that has clients listen on every address of a port, while something that they know
// has a TLS network.
func besideTLSNetworks(o *object.Object, view *policy.View) []breach {
	var found []breach
	for _, p := range openPorts(o, view) {
		var hosts []policy.FencedHost
		name := ""
		for _, other := range view.TLSNetworks() {
			for _, n := range tlsNetworksOf(other) {
				host, strict := n.hides(p.Number, view)
				if strict && shareClients(view.Importers(o.Metadata.Namespace, o.ServiceEntry.ExportTo), other, o, p.Number, view) {
					hosts, name = append(hosts, host), fmt.Sprintf("%s %s/%s", other.Kind, other.Metadata.Namespace, other.Metadata.Name)
				}
			}
		}
		if len(hosts) > 0 {
			found = append(found, openBreach(breach{
				path: portPath(o, p), value: p.Number, at: name, host: policy.Together(hosts...),
				must: "not be a port on which " + name + " has TLS for a network with the ClusterIP of a strict Service that has the port for HTTP",
			}))
		}
	}
	return found
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
		if network.ServiceEntry != nil {
			return listens && listensForTLS(&c, network)
		}
		return listens && object.Exported(network.VirtualService.ExportTo, network.Metadata.Namespace, c.Namespace)
	})
}
