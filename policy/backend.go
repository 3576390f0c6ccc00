package policy

import (
	"net/netip"
	"slices"
	"strings"
)

// backend is what relates a Service to other objects than by its name.
type backend struct {
	// selector holds the labels that the Service selects Pods and workloads by, as key=value, sorted.
	selector []string
	// addresses are its ClusterIPs.
	addresses []netip.Addr
	// ports are those of its ClusterIPs; none where they are not known.
	ports []int64
}

func newBackend(spec ServiceSpec) backend {
	b := backend{selector: pairs(spec.Selector)}
	for _, text := range append(slices.Clone(spec.ClusterIPs), spec.ClusterIP) {
		if address, err := netip.ParseAddr(text); err == nil && !slices.Contains(b.addresses, address) {
			b.addresses = append(b.addresses, address)
		}
	}
	for _, p := range spec.Ports {
		b.ports = append(b.ports, p.Port)
	}
	return b
}

// pairs returns labels as key=value, sorted. No key has a "=" in it.
func pairs(labels map[string]string) []string {
	list := make([]string, 0, len(labels))
	for key, value := range labels {
		list = append(list, key+"="+value)
	}
	slices.Sort(list)
	return list
}

// selects says whether the Service selects what has the labels. A Service without a selector selects nothing.
func (b backend) selects(labels map[string]string) bool {
	for _, pair := range b.selector {
		key, value, _ := strings.Cut(pair, "=")
		if have, ok := labels[key]; !ok || have != value {
			return false
		}
	}
	return len(b.selector) > 0
}

// overlaps says whether the labels are bound to choose Pods of the Service: they contradict no label that it
// selects, and have one of them or are empty. Labels without any of them, such as version: v1 for app: reviews,
// may choose its Pods too, but are mostly meant for others.
func (b backend) overlaps(labels map[string]string) bool {
	shared := len(labels) == 0
	for _, pair := range b.selector {
		key, value, _ := strings.Cut(pair, "=")
		other, ok := labels[key]
		if ok && other != value {
			return false
		}
		shared = shared || ok
	}
	return shared && len(b.selector) > 0
}

// answers says whether the Service has one of the ports.
func (b backend) answers(ports []int64) bool {
	return len(b.ports) == 0 || slices.ContainsFunc(b.ports, func(p int64) bool { return slices.Contains(ports, p) })
}

// backends are those of one Namespace.
type backends struct {
	byName map[string]backend
	// byPair holds the Services by the first label of their selector, so that those that select something are
	// found without a look at all of them.
	byPair map[string][]string
}

func (s *backends) set(name string, b backend) {
	s.remove(name)
	if s.byName == nil {
		s.byName, s.byPair = map[string]backend{}, map[string][]string{}
	}
	s.byName[name] = b
	if len(b.selector) > 0 {
		first := b.selector[0]
		names := s.byPair[first]
		i, _ := slices.BinarySearch(names, name)
		s.byPair[first] = slices.Insert(names, i, name)
	}
}

func (s *backends) remove(name string) {
	old := s.byName[name]
	delete(s.byName, name)
	if len(old.selector) == 0 {
		return
	}
	first := old.selector[0]
	names := s.byPair[first]
	if i, ok := slices.BinarySearch(names, name); ok {
		names = slices.Delete(names, i, i+1)
	}
	if s.byPair[first] = names; len(names) == 0 {
		delete(s.byPair, first)
	}
}

// SetServiceSpec tells what a Service selects, and its addresses. They are forgotten with the Service.
func (x *Index) SetServiceSpec(host Host, spec ServiceSpec) {
	x.mu.Lock()
	defer x.mu.Unlock()
	n, ok := x.namespaces[host.Namespace]
	if _, exists := x.service(host); !ok || !exists {
		return
	}
	b := newBackend(spec)
	x.forgetAddresses(host, n)
	n.backends.set(host.Name, b)
	for _, address := range b.addresses {
		x.addresses[address] = host
	}
}

func (x *Index) service(host Host) (asked, bool) {
	n, ok := x.namespaces[host.Namespace]
	if !ok {
		return absent, false
	}
	annotation, ok := n.services[host.Name]
	return annotation, ok
}

// forgetAddresses drops those that are still the Service's own.
func (x *Index) forgetAddresses(host Host, n *namespaceIndex) {
	for _, address := range n.backends.byName[host.Name].addresses {
		if x.addresses[address] == host {
			delete(x.addresses, address)
		}
	}
}

// StrictSelecting returns the first strict Service of a Namespace that selects what has the labels.
func (v *View) StrictSelecting(namespace string, labels map[string]string) (FencedHost, bool) {
	v.index.mu.RLock()
	defer v.index.mu.RUnlock()
	var names []string
	if n, ok := v.index.namespaces[namespace]; ok {
		for key, value := range labels {
			for _, name := range n.backends.byPair[key+"="+value] {
				if n.backends.byName[name].selects(labels) {
					names = append(names, name)
				}
			}
		}
	}
	return v.firstStrict(namespace, names, func(b backend) bool { return b.selects(labels) })
}

// StrictOverlapping returns the first strict Service of a Namespace whose selector shares a label with those given
// and contradicts none of them; no labels choose everything. It looks at every Service of the Namespace.
func (v *View) StrictOverlapping(namespace string, labels map[string]string) (FencedHost, bool) {
	v.index.mu.RLock()
	defer v.index.mu.RUnlock()
	var names []string
	if n, ok := v.index.namespaces[namespace]; ok {
		for name, b := range n.backends.byName {
			if b.overlaps(labels) {
				names = append(names, name)
			}
		}
	}
	return v.firstStrict(namespace, names, func(b backend) bool { return b.overlaps(labels) })
}

// firstStrict returns the first of the Services by name that is strict, those that were loaded included.
func (v *View) firstStrict(namespace string, names []string, also func(backend) bool) (FencedHost, bool) {
	for host, b := range v.backends {
		if host.Namespace != namespace {
			continue
		}
		names = slices.DeleteFunc(names, func(name string) bool { return name == host.Name })
		if also(b) {
			names = append(names, host.Name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if found, strict := v.strict(Host{Namespace: namespace, Name: name}); strict {
			return found, true
		}
	}
	return FencedHost{}, false
}

func (v *View) strict(host Host) (FencedHost, bool) {
	d := v.decide(host)
	if d.Fence != Strict {
		return FencedHost{}, false
	}
	return FencedHost{host.FQDN(v.config.ClusterDomain), d}, true
}

// StrictAddress returns the first strict Service that has a ClusterIP in the prefix and one of the ports there. A
// prefix of more than one address looks at every ClusterIP.
func (v *View) StrictAddress(prefix netip.Prefix, ports []int64) (FencedHost, bool) {
	v.index.mu.RLock()
	defer v.index.mu.RUnlock()
	var first Host
	var fenced FencedHost
	found := false
	offer := func(host Host, b backend) {
		if !b.answers(ports) || found && host.Compare(first) >= 0 {
			return
		}
		if h, strict := v.strict(host); strict {
			first, fenced, found = host, h, true
		}
	}
	offerIndexed := func(address netip.Addr) {
		if host, ok := v.index.addresses[address]; ok && !v.told(host) {
			offer(host, v.index.backend(host))
		}
	}
	if prefix.IsSingleIP() {
		offerIndexed(prefix.Addr())
	} else {
		for address := range v.index.addresses {
			if prefix.Contains(address) {
				offerIndexed(address)
			}
		}
	}
	for host, b := range v.backends {
		if slices.ContainsFunc(b.addresses, prefix.Contains) {
			offer(host, b)
		}
	}
	return fenced, found
}

// backend returns that of a Service with an address.
func (x *Index) backend(host Host) backend {
	return x.namespaces[host.Namespace].backends.byName[host.Name]
}

// told says whether the view was told itself what a Service selects and which addresses it has.
func (v *View) told(host Host) bool {
	_, ok := v.backends[host]
	return ok
}
