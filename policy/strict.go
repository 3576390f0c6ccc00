package policy

import (
	"net/netip"
	"slices"
)

// rank orders strict Services by what becomes of a finding about them, the hardest first. Where a question has several
// answers it has the one of the first rank, so that a Service that is there for show hides no other.
type rank uint8

const ranks = 6

func rankOf(enforcement Enforcement, locked bool) rank {
	r := rank(2 * slices.Index([]Enforcement{Enforce, Warn, Audit}, enforcement))
	if locked {
		return r
	}
	return r + 1
}

// rank returns that of a Service of the Namespace.
func (s *NamespaceScope) rank(d Decision) rank {
	if d.Locked {
		return rankOf(s.config.Enforcement, true)
	}
	return rankOf(s.enforcement, false)
}

// The ports of a strictKey that are none.
const (
	// anyPort stands for whatever ports a Service has.
	anyPort = -1
	// noPort is for Services whose ports are not known. They count for every port.
	noPort = 0
)

// strictKey names a set of strict Services: those of a rank that have a port, one of HTTP or another.
type strictKey struct {
	rank rank
	port int64
	http bool
}

// strictSet is a set of strict Services. Under anyPort it has no addresses.
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

// keys returns the ports under which a Service stands.
func (b backend) keys(r rank) []strictKey {
	whole := strictKey{rank: r, port: anyPort}
	if len(b.ports) == 0 {
		return []strictKey{whole, {rank: r, port: noPort}}
	}
	keys := make([]strictKey, 1, len(b.ports)+1)
	for _, p := range b.ports {
		keys = append(keys, strictKey{r, int64(p.number), p.transport == TransportHTTP})
		whole.http = whole.http || p.transport == TransportHTTP
	}
	keys[0] = whole
	return keys
}

func (x *Index) addStrict(host Host, b backend, r rank) {
	for _, key := range b.keys(r) {
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
		if key.port != anyPort {
			for _, address := range b.addresses {
				set.addresses.insert(addressed{address, host})
			}
		}
	}
}

func (x *Index) removeStrict(host Host, b backend, r rank) {
	for _, key := range b.keys(r) {
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
func (x *Index) around(host Host, n *namespaceIndex, change func()) {
	x.unlist(host, n)
	change()
	x.list(host, n)
}

// unlist takes a Service out of the sets of strict ones.
func (x *Index) unlist(host Host, n *namespaceIndex) {
	if r, listed := n.ranks[host.Name]; listed {
		x.removeStrict(host, n.backends.byName[host.Name], r)
		delete(n.ranks, host.Name)
	}
}

// list puts a Service that is strict, and whose spec is known, into the sets of those.
func (x *Index) list(host Host, n *namespaceIndex) {
	annotation, exists := n.services[host.Name]
	b, known := n.backends.byName[host.Name]
	if !exists || !known {
		return
	}
	d := n.scope.decide(host.Name, annotation)
	if d.Fence != Strict {
		return
	}
	if n.ranks == nil {
		n.ranks = map[string]rank{}
	}
	r := n.scope.rank(d)
	n.ranks[host.Name] = r
	x.addStrict(host, b, r)
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
		return !p.HTTP
	}
	return slices.ContainsFunc(b.ports, p.includes)
}

func (p Ports) includes(port backendPort) bool {
	_, counts := slices.BinarySearch(p.Numbers, int64(port.number))
	return (len(p.Numbers) == 0 || counts) && (!p.HTTP || port.transport == TransportHTTP)
}

// covers reports whether a set of Services is about such a port.
func (p Ports) covers(key strictKey) bool {
	if key.port == noPort {
		return !p.HTTP
	}
	return key.port != anyPort && p.includes(backendPort{int32(key.port), transportOf(key)}) //nolint:gosec // a port
}

// transportOf tells HTTP from the others.
func transportOf(key strictKey) Transport {
	if key.http {
		return TransportHTTP
	}
	return TransportAuto
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
		numbers = append(p.Numbers[:len(p.Numbers):len(p.Numbers)], noPort)
	}
	for r := range rank(ranks) {
		for _, number := range numbers {
			for _, http := range []bool{true, false} {
				key := strictKey{r, number, http}
				if set := v.index.strict[key]; set != nil && (http || !p.HTTP) {
					visit(key, set)
				}
			}
		}
	}
}

// StrictAddress returns a strict Service that has a ClusterIP in the prefix and one of the ports there, whatever is
// in the index.
func (v *View) StrictAddress(prefix netip.Prefix, ports Ports) (FencedHost, bool) {
	return v.strictAddress(prefix, ports, func(Host, backend) bool { return true })
}

func (v *View) strictAddress(prefix netip.Prefix, ports Ports, wanted func(Host, backend) bool) (FencedHost, bool) {
	v.index.mu.RLock()
	defer v.index.mu.RUnlock()
	s := strictSearch{view: v}
	offer := func(host Host) (next bool) {
		return v.told(host) || !wanted(host, v.index.backend(host)) || !s.offer(host)
	}
	if prefix.IsSingleIP() {
		if host, ok := v.index.addresses[prefix.Addr()]; ok && ports.has(v.index.backend(host)) {
			offer(host)
		}
	} else {
		v.sets(ports, true, func(_ strictKey, set *strictSet) { set.addresses.within(prefix, offer) })
		v.offerUnlisted(func(host Host, b backend) {
			if ports.has(b) && slices.ContainsFunc(b.addresses, prefix.Contains) {
				offer(host)
			}
		})
	}
	s.offerTold(func(host Host, b backend) bool {
		return ports.has(b) && slices.ContainsFunc(b.addresses, prefix.Contains) && wanted(host, b)
	})
	return s.fenced, s.found
}

// StrictPort returns the first strict Service that has one of the ports. It looks once at each Namespace, whatever is
// in it.
func (v *View) StrictPort(ports Ports) (FencedHost, bool) {
	v.index.mu.RLock()
	defer v.index.mu.RUnlock()
	s := strictSearch{view: v}
	v.sets(ports, false, func(_ strictKey, set *strictSet) {
		for namespace, names := range set.namespaces {
			s.offerFirst(namespace, names.all, func(string) bool { return true })
		}
	})
	v.offerUnlisted(func(host Host, b backend) {
		if ports.has(b) {
			s.offerIndexed(host)
		}
	})
	s.offerTold(func(_ Host, b backend) bool { return ports.has(b) })
	return s.fenced, s.found
}

// offerUnlisted visits the Services of Namespaces that the view was told of: the index has them by other labels.
func (v *View) offerUnlisted(visit func(Host, backend)) {
	for namespace := range v.namespaces {
		if n, ok := v.index.namespaces[namespace]; ok {
			for name, b := range n.backends.byName {
				visit(Host{namespace, name}, b)
			}
		}
	}
}

// offerFirst offers the first of the names of a Namespace that is wanted.
func (s *strictSearch) offerFirst(namespace string, names []string, wanted func(name string) bool) {
	for _, name := range names {
		host := Host{namespace, name}
		if !s.view.told(host) && wanted(name) && s.offer(host) {
			return
		}
	}
}
