package policy

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// The names under which objects are kept that catch what is for a Service without a host that names it. No host looks
// like one of them.

// portName is for ServiceEntries that have sidecars listen on every address of a port.
func portName(number int64) string { return "port/" + strconv.FormatInt(number, 10) }

// bareName is for ServiceEntries with a port for which they have no address.
func bareName(number int64) string { return "bare/" + strconv.FormatInt(number, 10) }

// listenerName is for Sidecars with a listener of its own for a port that takes whatever comes to it.
func listenerName(number int64) string { return "listener/" + strconv.FormatInt(number, 10) }

// importsName is for Sidecars that import from a Namespace; a star stands for any, and a dot for that of the clients.
func importsName(namespace string) string { return "imports/" + namespace }

// ownName is for Sidecars without a selector, by their Namespace.
func ownName(namespace string) string { return "sidecar/" + namespace }

// hopName is for Sidecars by which Pods send on what arrives at them, by their Namespace; empty for all of them.
func hopName(namespace string) string { return "hop/" + namespace }

const (
	// proxyName is for Sidecars that send what is for unknown hosts to a host.
	proxyName = "proxy/"
	// connectionsName is for VirtualServices with routes of tcp for sidecars.
	connectionsName = "connections/"
	// tlsNetworkName is for ServiceEntries with a port of TLS for a network, and VirtualServices with routes of TLS for one.
	tlsNetworkName = "tls-network/"
)

// shortName is for ServiceEntries and VirtualServices with a wildcard that covers short names, or a whole search domain.
const shortName = "short/"

// shortNamed returns that name where it is one of an object's with such hosts.
func shortNamed(hosts []string) []string {
	for _, host := range hosts {
		if _, ok := hostname.ShortWildcard(host); ok {
			return []string{shortName}
		}
	}
	return nil
}

// sidecarNames lists the names of a Sidecar: those of the Namespaces that it imports from, and where it catches
// something itself one for every Service.
func sidecarNames(o *object.Object, config *Config) []string {
	var names []string
	for _, number := range o.Sidecar.OpenPorts() {
		names = append(names, listenerName(number))
	}
	catches := o.Sidecar.EgressProxy() != nil
	if o.Sidecar.WorkloadSelector == nil {
		names = append(names, ownName(o.Metadata.Namespace))
	}
	if len(o.Sidecar.Egress) == 0 {
		names = append(names, importsName("*"))
	}
	for _, e := range o.Sidecar.Egress {
		for _, host := range e.Hosts {
			namespace, _, _ := strings.Cut(host, "/")
			if namespace == "." && isRootSidecar(o, config) {
				names = append(names, importsName("."))
			}
			if namespace == "." {
				namespace = o.Metadata.Namespace
			}
			names = append(names, importsName(namespace))
		}
		catches = catches || hostname.IsAddress(e.Bind)
	}
	if o.Sidecar.EgressProxy() != nil {
		names = append(names, proxyName)
	}
	switch {
	case o.Sidecar.SendsOn() < 0:
	case isRootSidecar(o, config):
		names = append(names, hopName(""))
	default:
		names = append(names, hopName(o.Metadata.Namespace))
	}
	if catches {
		names = append(names, "*.svc."+config.ClusterDomain)
	}
	return names
}

// isRootSidecar reports whether a Sidecar is for the clients of every Namespace that has none without a selector.
func isRootSidecar(o *object.Object, config *Config) bool {
	return o.Metadata.Namespace == config.IstioNamespace && o.Sidecar.WorkloadSelector == nil
}

// ClientsOf lists the clients that have a Sidecar. Those of the root Namespace stand for every Namespace.
func (v *View) ClientsOf(sidecar *object.Object) []Clients {
	list := []Clients{v.config.clients(sidecar.Metadata.Namespace, sidecar)}
	if isRootSidecar(sidecar, v.config) {
		list = append(list, v.config.clients("", sidecar))
	}
	return list
}

// ClientsWithout lists the clients that have another Sidecar, or none, without a Sidecar that has no selector.
func (v *View) ClientsWithout(sidecar *object.Object) []Clients {
	others := func(namespace string) []*object.Object {
		return slices.DeleteFunc(v.named(ownName(namespace)), func(o *object.Object) bool { return o.Key() == sidecar.Key() })
	}
	namespace := sidecar.Metadata.Namespace
	if len(others(namespace)) > 0 {
		return nil
	}
	if namespace == v.config.IstioNamespace {
		return []Clients{v.config.clients(namespace, nil), v.config.clients("", nil)}
	}
	root := others(v.config.IstioNamespace)
	if len(root) == 0 {
		return []Clients{v.config.clients(namespace, nil)}
	}
	list := make([]Clients, len(root))
	for i, o := range root {
		list[i] = v.config.clients(namespace, o)
	}
	return list
}

// ClientsIn returns the clients that a Sidecar has in a Namespace.
func (v *View) ClientsIn(namespace string, sidecar *object.Object) Clients {
	return v.config.clients(namespace, sidecar)
}

// Importers lists the clients that may know what is said in a Namespace, and exported so: those with a Sidecar that
// imports from there, and those without one. Clients that are alike are listed once.
func (v *View) Importers(namespace string, exportTo []string) []Clients {
	var list []Clients
	add := func(client string, sidecar *object.Object) {
		if object.Exported(exportTo, namespace, client) {
			list = append(list, v.config.clients(client, sidecar))
		}
	}
	root := v.named(ownName(v.config.IstioNamespace))
	shared := append(v.withoutOwn(append([]string{namespace}, exportTo...)), "")
	for _, sidecar := range v.named(importsName(namespace), importsName("*"), importsName(".")) {
		add(sidecar.Metadata.Namespace, sidecar)
		if !isRootSidecar(sidecar, v.config) {
			continue
		}
		for _, client := range shared {
			add(client, sidecar)
		}
	}
	if len(root) == 0 {
		for _, client := range shared {
			add(client, nil)
		}
	}
	return list
}

// withoutOwn returns those Namespaces that have no Sidecar without a selector, each once.
func (v *View) withoutOwn(namespaces []string) []string {
	var list []string
	for _, namespace := range namespaces {
		if hostname.IsLabel(namespace) && namespace != v.config.IstioNamespace && !slices.Contains(list, namespace) && len(v.named(ownName(namespace))) == 0 {
			list = append(list, namespace)
		}
	}
	return list
}

// OpenPorts lists the ports on which a ServiceEntry has sidecars listen on every address, sorted.
func (v *View) OpenPorts() []int64 {
	i := &v.index.inventory
	i.mu.RLock()
	defer i.mu.RUnlock()
	return slices.Sorted(maps.Keys(i.open))
}

// Opening returns the ServiceEntries that have sidecars listen on every address of a port, sorted by key.
func (v *View) Opening(port int64) []*object.Object { return v.named(portName(port)) }

// Bare returns the ServiceEntries with a port for which they have no address, sorted by key.
func (v *View) Bare(port int64) []*object.Object { return v.named(bareName(port)) }

// Opened reports whether a Sidecar has a listener of its own for a port that takes whatever comes to it.
func (v *View) Opened(port int64) bool { return v.has(listenerName(port)) }

// Proxied reports whether a Sidecar sends what is for unknown hosts to a host.
func (v *View) Proxied() bool { return v.has(proxyName) }

// RoutingConnections returns the VirtualServices with routes of tcp for sidecars, sorted by key.
func (v *View) RoutingConnections() []*object.Object { return v.named(connectionsName) }

// ListenerPorts lists the ports for which Sidecars have listeners of their own that take whatever comes to them, sorted.
func (v *View) ListenerPorts() []int64 {
	i := &v.index.inventory
	i.mu.RLock()
	defer i.mu.RUnlock()
	return slices.Sorted(maps.Keys(i.listeners))
}

// TLSNetworks returns the ServiceEntries with a port of TLS for a network, and the VirtualServices with routes of TLS for
// one, sorted by key.
func (v *View) TLSNetworks() []*object.Object { return v.named(tlsNetworkName) }

// has reports whether an object of the inventory has a name.
func (v *View) has(name string) bool {
	i := &v.index.inventory
	i.mu.RLock()
	defer i.mu.RUnlock()
	return len(i.byName[name]) > 0
}

// CoveringShort returns the ServiceEntries and VirtualServices with a wildcard for short names, sorted by key.
func (v *View) CoveringShort() []*object.Object { return v.named(shortName) }
