package policy

import (
	"cmp"
	"slices"
	"strings"

	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// Clients are the workloads of one Namespace whose sidecars have the same Sidecar, or none.
type Clients struct {
	// Namespace is theirs; empty for a Namespace that no object names.
	Namespace string
	// Sidecar is nil where they have none, and know all that is exported to them.
	Sidecar *object.Object

	listeners []listener
	// byPort has the listeners of each port, in their order.
	byPort map[int64][]*listener
	domain string
}

// listener is an egress listener of a Sidecar.
type listener struct {
	// port is 0 for the listener of all ports that no other has.
	port      int64
	transport object.Transport
	// apart reports whether it listens on addresses of its own, so that it is not where a connection to a Service goes.
	apart bool
	// everywhere reports whether those are every address. For HTTP that is nothing of its own.
	everywhere bool
	// hosts are those that it imports, by the Namespace that they must be in; a star stands for any.
	hosts map[string]*imports
}

// imports are the hosts of one Namespace, or of any, that a listener imports.
type imports struct {
	exact map[string]bool
	// suffixes are wildcards without their star.
	suffixes []string
	// excluded are hosts and wildcards that are not imported although others of these cover them.
	excluded []string
}

// clients returns those of a Namespace that have a Sidecar, which may be nil.
func (c *Config) clients(namespace string, sidecar *object.Object) Clients {
	clients := Clients{Namespace: namespace, Sidecar: sidecar, byPort: map[int64][]*listener{}, domain: c.ClusterDomain}
	egress := []object.EgressListener{{Hosts: []string{"*/*"}}}
	if sidecar != nil && len(sidecar.Sidecar.Egress) > 0 {
		egress = sidecar.Sidecar.Egress
	}
	for _, e := range egress {
		clients.listeners = append(clients.listeners, listenerOf(e, namespace))
	}
	for i := range clients.listeners {
		l := &clients.listeners[i]
		clients.byPort[l.port] = append(clients.byPort[l.port], l)
	}
	return clients
}

// listenerOf reads what an egress listener imports (convertIstioListenerToWrapper in Istio's
// pilot/pkg/model/sidecar.go).
func listenerOf(e object.EgressListener, client string) listener {
	l := listener{apart: e.Bind != "" || e.Bound(), everywhere: e.Everywhere(), hosts: map[string]*imports{}}
	if e.Port != nil {
		l.port, l.transport = e.Port.Number, e.Port.Transport()
	}
	for _, text := range e.Hosts {
		namespace, name, ok := strings.Cut(text, "/")
		if !ok {
			continue
		}
		namespace, excluded := strings.CutPrefix(namespace, "~")
		if excluded {
			namespace = cmp.Or(namespace, "*")
		}
		if namespace == "." {
			namespace = client
		}
		set := l.hosts[namespace]
		if set == nil {
			set = &imports{exact: map[string]bool{}}
			l.hosts[namespace] = set
		}
		suffix, wildcard := hostname.Wildcard(name)
		switch {
		case excluded:
			set.excluded = append(set.excluded, name)
		case wildcard:
			set.suffixes = append(set.suffixes, suffix)
		default:
			set.exact[name] = true
		}
	}
	return l
}

// has reports whether a host is among those that are imported, as SubsetOf in Istio's pkg/config/host compares them.
func (i *imports) has(host string) bool {
	if i == nil {
		return false
	}
	return i.exact[host] || slices.ContainsFunc(i.suffixes, func(suffix string) bool { return hostname.Within(host, suffix) })
}

func (i *imports) excludes(host string) bool {
	return i != nil && slices.ContainsFunc(i.excluded, func(name string) bool {
		suffix, wildcard := hostname.Wildcard(name)
		return name == host || wildcard && hostname.Within(host, suffix)
	})
}

// imports reports whether the listener knows the host of a Service or ServiceEntry of a Namespace.
func (l *listener) imports(namespace, host string) bool {
	own, all := l.hosts[namespace], l.hosts["*"]
	return !own.excludes(host) && !all.excludes(host) && (own.has(host) || all.has(host))
}

// whole reports whether the listener knows every Service of a Namespace.
func (l *listener) whole(namespace, domain string) bool {
	own, all := l.hosts[namespace], l.hosts["*"]
	if own != nil && len(own.excluded) > 0 || all != nil && len(all.excluded) > 0 {
		return false
	}
	every := "*." + namespace + ".svc." + domain
	return own.has(every) || all.has(every)
}

// overlaps reports whether the listener may have the routes of a VirtualService with such a host (VSMatches in Istio's
// pilot/pkg/model/sidecar.go).
func (l *listener) overlaps(namespace, host string) bool {
	suffix, wildcard := hostname.Wildcard(host)
	for _, set := range []*imports{l.hosts[namespace], l.hosts["*"]} {
		if set == nil {
			continue
		}
		if set.has(host) || wildcard && slices.ContainsFunc(set.suffixes, func(other string) bool { return strings.HasSuffix(other, suffix) }) {
			return true
		}
		for exact := range set.exact {
			if wildcard && strings.HasSuffix(exact, suffix) {
				return true
			}
		}
	}
	return false
}

// on returns the listeners that a connection to a port may meet: those of the port, then that of all others. Its
// requests are for the first of them (GetEgressListenerForRDS in Istio's pilot/pkg/model/sidecar.go).
func (c *Clients) on(port int64, visit func(*listener) (next bool)) {
	if port != 0 {
		for _, l := range c.byPort[port] {
			if !visit(l) {
				return
			}
		}
	}
	for _, l := range c.byPort[0] {
		if !visit(l) {
			return
		}
	}
}

// Ported reports whether the clients have a listener of their own for the port.
func (c *Clients) Ported(port int64) bool { return len(c.byPort[port]) > 0 }

// reach reports whether a listener that knows is on the way of what is sent to a Service's port: for HTTP the first
// one of the port, for the others any that listens on the Service's address.
func (c *Clients) reach(port backendPort, knows func(*listener) bool) (reached bool) {
	c.on(int64(port.number), func(l *listener) bool {
		if port.transport == object.TransportHTTP {
			everywhere := l.everywhere && (l.port == 0 || l.transport == object.TransportHTTP)
			reached = (!l.apart || everywhere) && knows(l)
			return false
		}
		shared := l.port != 0 && l.transport == object.TransportHTTP
		reached = !l.apart && !shared && knows(l)
		return !reached
	})
	return reached
}

// hides reports whether what the clients send to a port of a Service is not recognized as meant for it.
func (c *Clients) hides(h hostname.Host, b backend, port backendPort) bool {
	if !object.Exported(b.exports, h.Namespace, c.Namespace) {
		return true
	}
	fqdn := h.FQDN(c.domain)
	return !c.reach(port, func(l *listener) bool { return l.imports(h.Namespace, fqdn) })
}

// hidesAny reports whether the clients do not know a Service on one of the ports that count.
func (c *Clients) hidesAny(h hostname.Host, b backend, ports Ports) bool {
	return slices.ContainsFunc(b.ports, func(p backendPort) bool { return ports.includes(p) && c.hides(h, b, p) })
}

// Listen reports whether the clients have a listener for a host of a ServiceEntry on a port, whose transport is such.
// A listener of the port itself says what its transport is, whatever the ServiceEntry says, and that of all others
// leaves it alone (buildSidecarOutboundListeners in Istio's pilot/pkg/networking/core/listener.go).
func (c *Clients) Listen(entry *object.Object, host string, port object.EntryPort, such func(object.Transport) bool) (listen bool) {
	if !object.Exported(entry.ServiceEntry.ExportTo, entry.Metadata.Namespace, c.Namespace) {
		return false
	}
	c.on(port.Number, func(l *listener) bool {
		if l.apart || !l.imports(entry.Metadata.Namespace, host) {
			return true
		}
		transport := port.Transport()
		if l.port != 0 {
			transport = l.transport
		}
		listen = such(transport)
		return false
	})
	return listen
}

// Answered reports whether the DNS proxies of the clients answer for a host of a ServiceEntry: for those that any listener
// imports, on whatever address it listens, and one of a port for those with that port (BuildNameTable in Istio's
// pkg/dns/server/name_table.go, serviceMatchingListenerPort in pilot/pkg/model/sidecar.go).
func (c *Clients) Answered(entry *object.Object, host string) bool {
	if !object.Exported(entry.ServiceEntry.ExportTo, entry.Metadata.Namespace, c.Namespace) {
		return false
	}
	return slices.ContainsFunc(c.listeners, func(l listener) bool {
		_, has := entry.ServiceEntry.Port(l.port)
		return (l.port == 0 || has) && l.imports(entry.Metadata.Namespace, host)
	})
}

// OpenPorts lists the ports for which the clients have a listener of its own that takes whatever comes to it, sorted.
func (c *Clients) OpenPorts() []int64 {
	if c.Sidecar == nil {
		return nil
	}
	return c.Sidecar.Sidecar.OpenPorts()
}

// Routes reports whether the clients may have the routes of a VirtualService for a host.
func (c *Clients) Routes(namespace, host string, exportTo []string) bool {
	return object.Exported(exportTo, namespace, c.Namespace) &&
		slices.ContainsFunc(c.listeners, func(l listener) bool { return !l.apart && l.overlaps(namespace, host) })
}

// StrictHidden returns the tightest of strict Services that the clients do not know on one of the ports. Of a Namespace that
// they know as a whole it looks at those Services alone that say who knows them.
func (v *View) StrictHidden(c *Clients, ports Ports) (FencedHost, bool) {
	return v.strictHidden(c, ports, hostFilter{})
}

// StrictHiddenName is StrictHidden for the Services that clients may ask for, as <name>.<namespace> or with .svc, by
// a name that the wildcard of the suffix covers.
func (v *View) StrictHiddenName(c *Clients, ports Ports, suffix string) (FencedHost, bool) {
	return v.strictHidden(c, ports, shortNames(suffix))
}

// StrictName returns the tightest of strict Services with such a name, whoever knows them.
func (v *View) StrictName(ports Ports, suffix string) (FencedHost, bool) {
	return v.strictPort(ports, shortNames(suffix))
}

// hostFilter narrows a question to some Services.
type hostFilter struct {
	// namespace is theirs; empty for any.
	namespace string
	// suffix is how one of their short names ends; empty for any.
	suffix string
}

// shortNames narrows to the Services with a short name that ends in suffix.
func shortNames(suffix string) hostFilter {
	_, namespace := hostname.CutLast(strings.TrimSuffix(suffix, ".svc"))
	return hostFilter{namespace, suffix}
}

func (f hostFilter) has(h hostname.Host) bool {
	if f.namespace != "" && h.Namespace != f.namespace {
		return false
	}
	short := h.Name + "." + h.Namespace
	return f.suffix == "" || strings.HasSuffix(short, f.suffix) || strings.HasSuffix(short+".svc", f.suffix)
}

func (v *View) strictHidden(c *Clients, ports Ports, filter hostFilter) (FencedHost, bool) {
	v.index.mu.RLock()
	defer v.index.mu.RUnlock()
	s := strictSearch{view: v}
	s.offerHidden(c, ports, filter)
	if len(ports.Numbers) == 0 {
		for port := range c.byPort {
			if port != 0 {
				s.offerHidden(c, Ports{Numbers: []int64{port}, HTTP: ports.HTTP}, filter)
			}
		}
	}
	wanted := func(h hostname.Host, b backend) bool {
		return filter.has(h) && ports.has(b) && c.hidesAny(h, b, ports)
	}
	v.offerUnlisted(func(h hostname.Host, b backend) {
		if wanted(h, b) {
			s.offerIndexed(h)
		}
	})
	s.offerTold(wanted)
	return s.fencedHost()
}

// offerHidden offers, of each Namespace, some strict Services that the clients do not know. Of any port it goes by
// what they know on those that have no listener of their own.
func (s *strictSearch) offerHidden(c *Clients, ports Ports, filter hostFilter) {
	index := s.view.index
	s.view.sets(ports, false, func(key strictKey, set *strictSet) {
		set.visit(filter.namespace, func(namespace string, names *strictNames) {
			list := names.all
			if c.whole(namespace, key) {
				list = names.restricted
			}
			s.offerNames(namespace, list, func(h hostname.Host) bool {
				return filter.has(h) && c.hidesAny(h, index.backend(h), ports)
			})
		})
	})
}

// whole reports whether the clients know every Service of a Namespace on the ports of a set.
func (c *Clients) whole(namespace string, key strictKey) bool {
	knows := func(l *listener) bool { return l.whole(namespace, c.domain) }
	if key.port == anyPort {
		return c.reach(backendPort{}, knows)
	}
	return c.reach(backendPort{int32(key.port), transportOf(key)}, knows) //nolint:gosec // a port
}
