package policy

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// tier is what makes strict Services tighter than others. Of each tier some are found, so that Services that are there
// for show hide no other.
type tier struct {
	locked      bool
	enforcement Enforcement
}

// tiers lists all of them.
func tiers() []tier {
	return []tier{{true, Enforce}, {false, Enforce}, {true, Warn}, {false, Warn}, {true, Audit}, {false, Audit}}
}

// The ports of a strictKey that are none.
const (
	// anyPort stands for whatever ports a Service has.
	anyPort = -1
	// noPort is for Services without ports, which may have an address in a view that says no more.
	noPort = 0
	// tlsPort stands for a port of TLS, whatever its number.
	tlsPort = -2
	// headlessPort stands for whatever ports a Service without an address of its own has.
	headlessPort = -3
)

// strictKey names a set of strict Services: those of a tier that have a port, one of HTTP or another.
type strictKey struct {
	tier tier
	port int64
	http bool
}

// strictSet is a set of strict Services. Under anyPort, tlsPort and headlessPort it has no addresses.
type strictSet struct {
	namespaces map[string]*strictNames
	addresses  addressSet
}

// strictNames are Services of one Namespace, sorted.
type strictNames struct {
	all []string
	// restricted are those of them that some clients do not know.
	restricted []string
}

// strictSets are the strict Services of the index, so that what an object catches is found without a look at all.
type strictSets map[strictKey]*strictSet

// keys returns the ports under which a Service is listed; none where sidecars listen for none of them.
func (b backend) keys(t tier) []strictKey {
	whole := strictKey{tier: t, port: anyPort}
	if len(b.ports) == 0 {
		return []strictKey{whole, {tier: t, port: noPort}}
	}
	keys := make([]strictKey, 1, len(b.ports)+1)
	if b.hasTLS() {
		keys = append(keys, strictKey{tier: t, port: tlsPort})
	}
	for _, p := range b.ports {
		if p.transport == object.TransportNone {
			continue
		}
		keys = append(keys, strictKey{t, int64(p.number), p.transport == object.TransportHTTP})
		whole.http = whole.http || p.transport == object.TransportHTTP
	}
	if len(keys) == 1 {
		return nil
	}
	keys[0] = whole
	if b.headless {
		keys = append(keys, strictKey{tier: t, port: headlessPort})
	}
	return keys
}

func (x *Index) addStrict(host hostname.Host, b backend, t tier) {
	for _, key := range b.keys(t) {
		set := x.strict[key]
		if set == nil {
			set = &strictSet{namespaces: map[string]*strictNames{}}
			x.strict[key] = set
		}
		names := set.namespaces[host.Namespace]
		if names == nil {
			names = &strictNames{}
			set.namespaces[host.Namespace] = names
		}
		names.all = inserted(names.all, host.Name)
		if b.exports != nil {
			names.restricted = inserted(names.restricted, host.Name)
		}
		if key.port >= noPort {
			for _, address := range b.addresses {
				set.addresses.insert(addressed{address, host})
			}
		}
	}
}

func (x *Index) removeStrict(host hostname.Host, b backend, t tier) {
	for _, key := range b.keys(t) {
		set := x.strict[key]
		if set == nil || set.namespaces[host.Namespace] == nil {
			continue
		}
		names := set.namespaces[host.Namespace]
		names.all, names.restricted = removed(names.all, host.Name), removed(names.restricted, host.Name)
		if len(names.all) == 0 {
			delete(set.namespaces, host.Namespace)
		}
		for _, address := range b.addresses {
			set.addresses.remove(addressed{address, host})
		}
		if len(set.namespaces) == 0 {
			delete(x.strict, key)
		}
	}
}

func inserted(names []string, name string) []string {
	if i, found := slices.BinarySearch(names, name); !found {
		return slices.Insert(names, i, name)
	}
	return names
}

func removed(names []string, name string) []string {
	if i, found := slices.BinarySearch(names, name); found {
		return slices.Delete(names, i, i+1)
	}
	return names
}

// around keeps the set of strict Services equal to the index while change changes a Service or its spec.
func (x *Index) around(host hostname.Host, n *namespaceIndex, change func()) {
	x.unlist(host, n)
	change()
	x.list(host, n)
}

// unlist takes a Service out of the sets of strict ones.
func (x *Index) unlist(host hostname.Host, n *namespaceIndex) {
	if t, listed := n.tiers[host.Name]; listed {
		x.removeStrict(host, n.backends.byName[host.Name], t)
		delete(n.tiers, host.Name)
	}
}

// unlistAll takes all Services of a Namespace out at once.
func (x *Index) unlistAll(n *namespaceIndex) {
	for name, t := range n.tiers {
		host := hostname.Host{Namespace: n.scope.name, Name: name}
		b := n.backends.byName[name]
		for _, key := range b.keys(t) {
			set := x.strict[key]
			if set == nil {
				continue
			}
			for _, address := range b.addresses {
				set.addresses.remove(addressed{address, host})
			}
			if delete(set.namespaces, n.scope.name); len(set.namespaces) == 0 {
				delete(x.strict, key)
			}
		}
	}
	n.tiers = nil
}

// listAll puts the strict Services of a Namespace in, in the order of their names, so that none has to make room.
func (x *Index) listAll(n *namespaceIndex) {
	for _, name := range slices.Sorted(maps.Keys(n.services)) {
		x.list(hostname.Host{Namespace: n.scope.name, Name: name}, n)
	}
}

// list puts a Service that is strict, and whose spec is known, into the sets of those.
func (x *Index) list(host hostname.Host, n *namespaceIndex) {
	annotation, exists := n.services[host.Name]
	b, known := n.backends.byName[host.Name]
	if !exists || !known {
		return
	}
	r := n.scope.ranked(host.Name, annotation)
	if r.decision.Fence != Strict {
		return
	}
	t := tier{r.decision.Locked, r.enforcement}
	put(&n.tiers, host.Name, t)
	x.addStrict(host, b, t)
}

// Ports says which ports of strict Services a question is about.
type Ports struct {
	// Numbers are those that count, sorted; none for any.
	Numbers []int64
	// HTTP leaves out those that are not of HTTP.
	HTTP bool
}

// has reports whether the Service has such a port.
func (p Ports) has(b backend) bool {
	if len(b.ports) == 0 {
		return p.any()
	}
	return slices.ContainsFunc(b.ports, p.includes)
}

// any reports whether no port is left out.
func (p Ports) any() bool { return len(p.Numbers) == 0 && !p.HTTP }

func (p Ports) includes(port backendPort) bool {
	if port.transport == object.TransportNone {
		return false
	}
	_, counts := slices.BinarySearch(p.Numbers, int64(port.number))
	return (len(p.Numbers) == 0 || counts) && (!p.HTTP || port.transport == object.TransportHTTP)
}

// covers reports whether a set of Services is about such a port.
func (p Ports) covers(key strictKey) bool {
	if key.port == noPort {
		return p.any()
	}
	return key.port > noPort && p.includes(backendPort{int32(key.port), transportOf(key)}) //nolint:gosec // a port
}

// transportOf tells HTTP from the others.
func transportOf(key strictKey) object.Transport {
	if key.http {
		return object.TransportHTTP
	}
	return object.TransportAuto
}

// sets visits the sets of the index that the ports are about. Of any port it visits those of each where addresses
// are asked for, and else those of all together.
func (v *View) sets(p Ports, addresses bool, visit func(strictKey, *strictSet)) {
	if len(p.Numbers) == 0 && addresses || len(p.Numbers) > len(v.index.strict) {
		for key, set := range v.index.strict {
			if p.covers(key) {
				visit(key, set)
			}
		}
		return
	}
	numbers := []int64{anyPort}
	if len(p.Numbers) > 0 {
		numbers = p.Numbers
	}
	for _, tier := range tiers() {
		for _, number := range numbers {
			for _, http := range []bool{true, false} {
				key := strictKey{tier, number, http}
				if set := v.index.strict[key]; set != nil && (http || !p.HTTP) {
					visit(key, set)
				}
			}
		}
	}
}

// StrictAddress returns the tightest of strict Services that have a ClusterIP in the prefix and one of the ports there;
// where there are many, of some of each tier.
func (v *View) StrictAddress(prefix netip.Prefix, ports Ports) (FencedHost, bool) {
	return v.strictAddress(prefix, ports, func(hostname.Host, backend) bool { return true })
}

// StrictHiddenAddress does so for those that the clients do not know on the ports.
func (v *View) StrictHiddenAddress(c *Clients, prefix netip.Prefix, ports Ports) (FencedHost, bool) {
	return v.strictAddress(prefix, ports, func(h hostname.Host, b backend) bool { return c.hidesAny(h, b, ports) })
}

func (v *View) strictAddress(prefix netip.Prefix, ports Ports, wanted func(hostname.Host, backend) bool) (FencedHost, bool) {
	v.index.mu.RLock()
	defer v.index.mu.RUnlock()
	s := strictSearch{view: v}
	offer := func(host hostname.Host) (strict bool) {
		return !v.told(host) && wanted(host, v.index.backend(host)) && s.offer(host)
	}
	if prefix.IsSingleIP() {
		if host, ok := v.index.addresses[prefix.Addr()]; ok && ports.has(v.index.backend(host)) {
			offer(host)
		}
	} else {
		v.sets(ports, true, func(_ strictKey, set *strictSet) {
			more := upTo(maxHosts, offer)
			set.addresses.within(prefix, func(host hostname.Host) bool {
				goesOn := more(host)
				s.cut = s.cut || !goesOn
				return goesOn
			})
		})
		v.offerUnlisted(func(host hostname.Host, b backend) {
			if ports.has(b) && slices.ContainsFunc(b.addresses, prefix.Contains) {
				offer(host)
			}
		})
	}
	s.offerTold(func(host hostname.Host, b backend) bool {
		return ports.has(b) && slices.ContainsFunc(b.addresses, prefix.Contains) && wanted(host, b)
	})
	return s.fencedHost()
}

// StrictPort returns the tightest of strict Services that have one of the ports. It looks once at each Namespace, whatever is
// in it.
func (v *View) StrictPort(ports Ports) (FencedHost, bool) { return v.strictPort(ports, hostFilter{}) }

func (v *View) strictPort(ports Ports, filter hostFilter) (FencedHost, bool) {
	v.index.mu.RLock()
	defer v.index.mu.RUnlock()
	s := strictSearch{view: v}
	v.sets(ports, false, func(_ strictKey, set *strictSet) {
		set.visit(filter.namespace, func(namespace string, names *strictNames) {
			s.offerNames(namespace, names.all, filter.has)
		})
	})
	v.offerUnlisted(func(host hostname.Host, b backend) {
		if filter.has(host) && ports.has(b) {
			s.offerIndexed(host)
		}
	})
	s.offerTold(func(host hostname.Host, b backend) bool { return filter.has(host) && ports.has(b) })
	return s.fencedHost()
}

// StrictTLS returns the tightest of strict Services that have a port of TLS.
func (v *View) StrictTLS() (FencedHost, bool) { return v.strictUnder(tlsPort, backend.hasTLS) }

// StrictHeadless returns the tightest of strict Services without an address of their own that have one of the ports.
// Which addresses their Pods have is not known here. It looks at those Services alone.
func (v *View) StrictHeadless(ports Ports) (FencedHost, bool) {
	return v.strictUnder(headlessPort, func(b backend) bool { return b.headless && ports.has(b) })
}

// Headless reports whether a Service is known to have no address of its own.
func (v *View) Headless(host hostname.Host) bool { return v.backendOf(host).headless }

// strictUnder returns the tightest of strict Services that are wanted, and of which the index has all under a key.
func (v *View) strictUnder(port int64, wanted func(backend) bool) (FencedHost, bool) {
	v.index.mu.RLock()
	defer v.index.mu.RUnlock()
	s := strictSearch{view: v}
	for _, tier := range tiers() {
		set := v.index.strict[strictKey{tier: tier, port: port}]
		if set == nil {
			continue
		}
		for namespace, names := range set.namespaces {
			s.offerNames(namespace, names.all, func(h hostname.Host) bool { return wanted(v.index.backend(h)) })
		}
	}
	v.offerUnlisted(func(host hostname.Host, b backend) {
		if wanted(b) {
			s.offerIndexed(host)
		}
	})
	s.offerTold(func(_ hostname.Host, b backend) bool { return wanted(b) })
	return s.fencedHost()
}

// ServiceAddress reports whether an address is the ClusterIP of a Service that the index knows.
func (v *View) ServiceAddress(address netip.Addr) bool {
	v.index.mu.RLock()
	defer v.index.mu.RUnlock()
	_, known := v.index.addresses[address]
	return known
}

// hasTLS reports whether the Service has a port of TLS.
func (b backend) hasTLS() bool {
	return slices.ContainsFunc(b.ports, func(p backendPort) bool { return p.transport == object.TransportTLS })
}

// visit visits the Services of a Namespace; those of each where none is named.
func (s *strictSet) visit(namespace string, visit func(namespace string, names *strictNames)) {
	if namespace == "" {
		for namespace, names := range s.namespaces {
			visit(namespace, names)
		}
	} else if names := s.namespaces[namespace]; names != nil {
		visit(namespace, names)
	}
}

// offerUnlisted visits the Services of Namespaces that the view was told of: the index has them by other labels.
func (v *View) offerUnlisted(visit func(hostname.Host, backend)) {
	for namespace := range v.namespaces {
		if n, ok := v.index.namespaces[namespace]; ok {
			for name, b := range n.backends.byName {
				visit(hostname.Host{Namespace: namespace, Name: name}, b)
			}
		}
	}
}

// offerNames offers some of the names of a Namespace that are wanted.
func (s *strictSearch) offerNames(namespace string, names []string, wanted func(hostname.Host) bool) {
	more := upTo(maxHosts, func(host hostname.Host) bool { return !s.view.told(host) && wanted(host) && s.offer(host) })
	for i, name := range names {
		if !more(hostname.Host{Namespace: namespace, Name: name}) {
			s.cut = s.cut || i < len(names)-1
			return
		}
	}
}

// upTo returns a visitor that reports whether to go on: until offer has taken so many.
func upTo(most int, offer func(hostname.Host) bool) func(hostname.Host) bool {
	return func(host hostname.Host) bool {
		if offer(host) {
			most--
		}
		return most > 0
	}
}
