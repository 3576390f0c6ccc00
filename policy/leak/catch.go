package leak

import (
	"fmt"
	"slices"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// catch is a strict host that some clients do not know, and a ServiceEntry that takes what they send to it.
type catch struct {
	// path leads to the port of the ServiceEntry, or to what hides the host.
	path    []string
	entry   *object.Object
	clients policy.Clients
	port    int64
	host    policy.FencedHost
}

// caughtByEntry lists what a ServiceEntry takes by listening on every address of a port; one for each port. With
// ported these are the clients with a listener of their own for the port, otherwise the others.
func caughtByEntry(o *object.Object, view *policy.View, ported bool) []catch {
	var caught []catch
	var importers []policy.Clients
	for _, p := range caughtPorts(o, view, ported) {
		if _, strict := view.StrictPort(on(p.Number)); !strict {
			continue
		}
		if importers == nil {
			importers = view.Importers(o.Metadata.Namespace, o.ServiceEntry.ExportTo)
		}
		found := catch{path: portPath(o, p), entry: o, port: p.Number}
		var hosts []policy.FencedHost
		for _, c := range importers {
			if c.Ported(p.Number) != ported {
				continue
			}
			if host, hidden := hiddenFrom(&c, o, p, view); hidden {
				if len(hosts) == 0 {
					found.clients = c
				}
				hosts = append(hosts, host)
			}
		}
		if len(hosts) > 0 {
			found.host = policy.Together(hosts...)
			caught = append(caught, found)
		}
	}
	return caught
}

// caughtPorts lists the ports of a ServiceEntry on which it may take what is for every address, from clients with a
// listener of their own for the port, who go by the protocol of that, or from the others.
func caughtPorts(o *object.Object, view *policy.View, ported bool) []object.EntryPort {
	if !ported {
		return openPorts(o, view)
	}
	ports := o.ServiceEntry.BarePorts()
	if len(ports) == 0 || !goesElsewhere(o, view) {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(ports), func(p object.EntryPort) bool { return !p.Transport().Open() && !view.Opened(p.Number) })
}

// portPath leads to the number of the first such port.
func portPath(o *object.Object, port object.EntryPort) []string {
	return []string{"spec", "ports", fmt.Sprint(slices.Index(o.ServiceEntry.Ports, port)), "number"}
}

// openPorts lists the ports on which a ServiceEntry takes what is for every address.
func openPorts(o *object.Object, view *policy.View) []object.EntryPort {
	ports := o.ServiceEntry.OpenPorts()
	if len(ports) == 0 || !goesElsewhere(o, view) {
		return nil
	}
	return ports
}

// goesElsewhere reports whether what a ServiceEntry takes does not go on to where it was going: it does where the
// ServiceEntry resolves nothing, unless something else of its host has endpoints or a VirtualService sends connections to a
// host that is not strict.
func goesElsewhere(o *object.Object, view *policy.View) bool {
	if o.ServiceEntry.Resolves() || resolvedBeside(o, view) {
		return true
	}
	to := newDestinations(view)
	for _, host := range o.ServiceEntry.Hosts {
		others := view.Covering(host)
		if _, wildcard := hostname.Wildcard(host); wildcard {
			others = view.RoutingConnections()
		}
		for _, other := range others {
			if other.VirtualService != nil && other.VirtualService.SpeaksFor(host) && redirectsTCP(other, to) {
				return true
			}
		}
	}
	return false
}

// redirectsTCP reports whether a VirtualService sends connections of sidecars to a host that is not strict.
func redirectsTCP(o *object.Object, to *destinations) bool {
	if !o.VirtualService.InMesh() {
		return false
	}
	return slices.ContainsFunc(o.VirtualService.TCP, func(route object.TCPRoute) bool {
		return slices.ContainsFunc(route.Route, func(d object.WeightedDestination) bool {
			return d.Destination != nil && !to.strict(*d.Destination, o)
		})
	})
}

func on(port int64) policy.Ports { return policy.Ports{Numbers: []int64{port}} }

// caughtBySidecar lists what ServiceEntries take from the clients of a Sidecar; one for each port.
func caughtBySidecar(o *object.Object, view *policy.View, ported bool) []catch {
	var caught []catch
	for _, c := range view.ClientsOf(o) {
		for _, found := range caughtFrom(&c, view) {
			if c.Ported(found.port) == ported {
				found.path = listenerPath(o, found.port)
				caught = append(caught, found)
			}
		}
	}
	return caught
}

// caughtFrom lists what ServiceEntries take from clients; one for each port.
func caughtFrom(c *policy.Clients, view *policy.View) []catch {
	var caught []catch
	ports := append(view.OpenPorts(), c.OpenPorts()...)
	slices.Sort(ports)
	for _, port := range slices.Compact(ports) {
		if _, hidden := view.StrictHidden(c, on(port)); !hidden {
			continue
		}
		if found, ok := caughtOn(port, c, view); ok {
			caught = append(caught, found)
		}
	}
	return caught
}

// listenerPath leads to the listener of a Sidecar for a port, or to all of them.
func listenerPath(o *object.Object, port int64) []string {
	for i, e := range o.Sidecar.Egress {
		if e.Port != nil && e.Port.Number == port {
			return []string{"spec", "egress", fmt.Sprint(i), "hosts"}
		}
	}
	return []string{"spec", "egress"}
}

// caughtOn returns the first ServiceEntry that takes what the clients send to hidden hosts on a port.
func caughtOn(port int64, c *policy.Clients, view *policy.View) (catch, bool) {
	entries := view.Opening(port)
	if c.Ported(port) {
		entries = view.Bare(port)
	}
	for _, entry := range entries {
		if !goesElsewhere(entry, view) {
			continue
		}
		p, ok := entry.ServiceEntry.Port(port)
		if !ok {
			continue
		}
		clients := clientsBeside(c, entry, view)
		if host, hidden := hiddenFrom(&clients, entry, p, view); hidden {
			return catch{entry: entry, clients: clients, port: port, host: host}, true
		}
	}
	return catch{}, false
}

// clientsBeside returns the clients themselves, or where those stand for any Namespace, the ones in that of an object.
func clientsBeside(c *policy.Clients, o *object.Object, view *policy.View) policy.Clients {
	if c.Namespace != "" {
		return *c
	}
	return view.ClientsIn(o.Metadata.Namespace, c.Sidecar)
}

// hiddenFrom returns the strict hosts whose traffic on a port clients send to a ServiceEntry, because they know it, and
// not the hosts.
func hiddenFrom(c *policy.Clients, entry *object.Object, port object.EntryPort, view *policy.View) (policy.FencedHost, bool) {
	e, ports := entry.ServiceEntry, on(port.Number)
	if !slices.ContainsFunc(e.Hosts, func(host string) bool { return c.Listen(entry, host, port, object.Transport.Open) }) {
		return policy.FencedHost{}, false
	}
	if len(e.Addresses) == 0 {
		return view.StrictHidden(c, ports)
	}
	if _, hidden := view.StrictHidden(c, ports); !hidden {
		return policy.FencedHost{}, false
	}
	var hosts []policy.FencedHost
	for _, network := range e.Networks() {
		if host, hidden := view.StrictHiddenAddress(c, network, ports); hidden {
			hosts = append(hosts, host)
		}
	}
	return policy.Together(hosts...), len(hosts) > 0
}

// breach turns what was caught into one of the ServiceEntry or of the Sidecar.
func (c catch) breach(o *object.Object) breach {
	entry := c.entry.Metadata.Namespace + "/" + c.entry.Metadata.Name
	b := breach{path: c.path, value: c.port, host: c.host}
	if o.Kind == object.KindServiceEntry {
		b.must = fmt.Sprintf("not be a port of a host that %s from clients who know this ServiceEntry", hiding(c.clients))
		return b
	}
	b.at, b.must = entry, fmt.Sprintf("let its clients know every host on port %d, on which ServiceEntry %s has them listen on every address", c.port, entry)
	return b
}

// hiding names what hides a host from clients, with the verb.
func hiding(c policy.Clients) string {
	if c.Sidecar == nil {
		return "annotation " + object.ExportToAnnotation + " of its Service hides"
	}
	return fmt.Sprintf("Sidecar %s/%s hides", c.Sidecar.Metadata.Namespace, c.Sidecar.Metadata.Name)
}

// caughtOf lists the breaches of a ServiceEntry or Sidecar.
func caughtOf(o Write, view *policy.View, ported bool) []breach {
	caught := caughtBySidecar
	if o.ServiceEntry != nil {
		caught = caughtByEntry
	}
	var found []breach
	for _, c := range caught(o.Object, view, ported) {
		found = append(found, c.breach(o.Object))
	}
	return found
}

// delegates reports whether a VirtualService leaves requests to another one, which may come later.
func delegates(o *object.Object) bool {
	for range o.VirtualService.Delegates(o.Metadata.Namespace) {
		return true
	}
	return false
}
