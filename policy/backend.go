package policy

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// backend is what relates a Service to other objects than by its name.
type backend struct {
	// selector holds the labels that the Service selects Pods and workloads by, as key=value, sorted.
	selector []string
	// addresses are its ClusterIPs.
	addresses []netip.Addr
	// ports are those of its ClusterIPs.
	ports []backendPort
	// exports are the Namespaces whose clients know the Service; none where all do.
	exports []string
	// external reports whether the Service is but another name, and alias for which host; headless that it has no address of
	// its own.
	external, headless bool
	alias              string
}

// backendPort is one port, as small as it can be kept.
type backendPort struct {
	number    int32
	transport object.Transport
}

func newBackend(spec object.ServiceSpec) backend {
	b := backend{
		selector: pairs(spec.Selector), external: spec.Type == string(corev1.ServiceTypeExternalName),
		headless: spec.ClusterIP == corev1.ClusterIPNone, alias: aliasOf(spec),
	}
	for _, text := range append(slices.Clone(spec.ClusterIPs), spec.ClusterIP) {
		if address, err := netip.ParseAddr(text); err == nil && !slices.Contains(b.addresses, address) {
			b.addresses = append(b.addresses, address)
		}
	}
	for _, p := range spec.Ports {
		b.ports = append(b.ports, backendPort{int32(p.Port), p.Transport()}) //nolint:gosec // the API server takes none above 65535
	}
	if !object.Exported(spec.ExportTo, "", "") {
		b.exports = spec.ExportTo
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

// labelsOf returns what pairs were made of.
func labelsOf(pairs []string) map[string]string {
	labels := make(map[string]string, len(pairs))
	for _, pair := range pairs {
		key, value, _ := strings.Cut(pair, "=")
		labels[key] = value
	}
	return labels
}

// selects reports whether the Service selects what has the labels. A Service without a selector selects nothing.
func (b backend) selects(labels map[string]string) bool {
	for _, pair := range b.selector {
		key, value, _ := strings.Cut(pair, "=")
		if have, ok := labels[key]; !ok || have != value {
			return false
		}
	}
	return len(b.selector) > 0
}

// overlaps reports whether the labels are bound to choose Pods of the Service: they contradict no label that it
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

// apart reports whether the labels have no key in common with the selector: what Pods they choose cannot be told from it.
func (b backend) apart(labels map[string]string) bool {
	for _, pair := range b.selector {
		key, _, _ := strings.Cut(pair, "=")
		if _, shared := labels[key]; shared {
			return false
		}
	}
	return len(b.selector) > 0 && len(labels) > 0
}

// bound reports whether the labels choose all Pods of the Service, or none but its Pods: they are some of those that it
// selects by, or have all of them.
func (b backend) bound(labels map[string]string) bool {
	return len(b.selector) > 0 && (b.selects(labels) || !slices.ContainsFunc(pairs(labels), func(pair string) bool {
		_, found := slices.BinarySearch(b.selector, pair)
		return !found
	}))
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

// SetServiceSpec tells what a Service selects, and its addresses and ports. They are forgotten with the Service. Ports
// that speak another protocol than those before are a change, because other routes are needed, and so is it that a Service
// becomes but another name, or ceases to be.
func (x *Index) SetServiceSpec(host hostname.Host, spec object.ServiceSpec) {
	x.SetSpec(host, SpecOf(spec))
}

// Spec is what the index keeps of the spec of a Service.
type Spec struct{ backend }

// SpecOf returns what is kept of a spec.
func SpecOf(spec object.ServiceSpec) Spec { return Spec{newBackend(spec)} }

// SetSpec is SetServiceSpec for what is kept of a spec.
func (x *Index) SetSpec(host hostname.Host, spec Spec) {
	changed := false
	defer func() { x.subscribers.notify(changed, Change{host.Namespace, host.Name}) }()
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.has(host) {
		return
	}
	n, b := x.namespaces[host.Namespace], spec.backend
	old, known := n.backends.byName[host.Name]
	fence := n.fence(host.Name)
	changed = known && (fence == Strict && old.speaks() != b.speaks() || fence != None && old.external != b.external)
	x.setAlias(host, old.alias, b.alias)
	x.around(host, n, func() {
		x.forgetAddresses(host, n)
		n.backends.set(host.Name, b)
	})
	for _, address := range b.addresses {
		x.addresses[address] = host
	}
}

// has reports whether the Service is in the index.
func (x *Index) has(host hostname.Host) bool {
	n, ok := x.namespaces[host.Namespace]
	if !ok {
		return false
	}
	_, ok = n.services[host.Name]
	return ok
}

// forgetAddresses drops those that are still the Service's own.
func (x *Index) forgetAddresses(host hostname.Host, n *namespaceIndex) {
	for _, address := range n.backends.byName[host.Name].addresses {
		if x.addresses[address] == host {
			delete(x.addresses, address)
		}
	}
}

// StrictSelecting returns the tightest strict Service of a Namespace that selects what has the labels.
func (v *View) StrictSelecting(namespace string, labels map[string]string) (FencedHost, bool) {
	v.index.mu.RLock()
	defer v.index.mu.RUnlock()
	s := strictSearch{view: v}
	if n, ok := v.index.namespaces[namespace]; ok {
		for key, value := range labels {
			for _, name := range n.backends.byPair[key+"="+value] {
				if n.backends.byName[name].selects(labels) {
					s.offerIndexed(hostname.Host{Namespace: namespace, Name: name})
				}
			}
		}
	}
	s.offerTold(func(h hostname.Host, b backend) bool { return h.Namespace == namespace && b.selects(labels) })
	return s.fencedHost()
}

// HeadlessSelecting reports whether a Service of a Namespace without an address of its own selects what has the labels.
func (v *View) HeadlessSelecting(namespace string, labels map[string]string) bool {
	v.index.mu.RLock()
	defer v.index.mu.RUnlock()
	if n, ok := v.index.namespaces[namespace]; ok {
		for key, value := range labels {
			for _, name := range n.backends.byPair[key+"="+value] {
				if b := n.backends.byName[name]; b.headless && b.selects(labels) {
					return true
				}
			}
		}
	}
	for h, b := range v.backends {
		if h.Namespace == namespace && b.headless && b.selects(labels) {
			return true
		}
	}
	return false
}

// StrictOverlapping returns the tightest strict Service of a Namespace whose selector shares a label with those given
// and contradicts none of them; no labels choose everything. It looks at every Service of the Namespace.
func (v *View) StrictOverlapping(namespace string, labels map[string]string) (FencedHost, bool) {
	return v.strictAmong(namespace, func(b backend) bool { return b.overlaps(labels) })
}

// StrictBound returns the tightest strict Service of a Namespace all of whose Pods the labels choose, or none but
// whose Pods. It looks at every Service of the Namespace.
func (v *View) StrictBound(namespace string, labels map[string]string) (FencedHost, bool) {
	return v.strictAmong(namespace, func(b backend) bool { return b.bound(labels) })
}

func (v *View) strictAmong(namespace string, wanted func(backend) bool) (FencedHost, bool) {
	v.index.mu.RLock()
	defer v.index.mu.RUnlock()
	s := strictSearch{view: v}
	if n, ok := v.index.namespaces[namespace]; ok {
		for name, b := range n.backends.byName {
			if wanted(b) {
				s.offerIndexed(hostname.Host{Namespace: namespace, Name: name})
			}
		}
	}
	s.offerTold(func(h hostname.Host, b backend) bool { return h.Namespace == namespace && wanted(b) })
	return s.fencedHost()
}

// backend returns that of a Service with an address.
func (x *Index) backend(host hostname.Host) backend {
	return x.namespaces[host.Namespace].backends.byName[host.Name]
}

// StrictNamed returns the tightest strict Service of that name, for a host that stands for such
// a Service in whatever Namespace a client is. It looks once at each Namespace, whatever is in it.
func (v *View) StrictNamed(name string) (FencedHost, bool) {
	v.index.mu.RLock()
	defer v.index.mu.RUnlock()
	s := strictSearch{view: v}
	for namespace, n := range v.index.namespaces {
		if _, exists := n.services[name]; exists {
			s.offerIndexed(hostname.Host{Namespace: namespace, Name: name})
		}
	}
	s.offerTold(func(h hostname.Host, _ backend) bool { return h.Name == name })
	return s.fencedHost()
}

// strictSearch keeps the tightest of the strict Services that are offered, each once.
type strictSearch struct {
	view *View
	tightest

	seen map[hostname.Host]bool
}

// offer reports whether the Service is strict.
func (s *strictSearch) offer(h hostname.Host) bool {
	r := s.view.ranked(h)
	if r.decision.Fence == Strict && !s.seen[h] {
		put(&s.seen, h, true)
		s.tightest.offer(r)
	}
	return r.decision.Fence == Strict
}

// fencedHost returns the tightest, if there is one.
func (s *strictSearch) fencedHost() (FencedHost, bool) {
	if s.count == 0 {
		return FencedHost{}, false
	}
	return s.tightest.fencedHost(s.view.config.ClusterDomain), true
}

// offerIndexed offers a Service of the index, unless the view was told otherwise.
func (s *strictSearch) offerIndexed(h hostname.Host) {
	if !s.view.told(h) {
		s.offer(h)
	}
}

// offerTold offers the Services that the view was told of.
func (s *strictSearch) offerTold(wanted func(hostname.Host, backend) bool) {
	for h, b := range s.view.backends {
		if wanted(h, b) {
			s.offer(h)
		}
	}
}

// told reports whether the view was told what a Service is. Then the index does not count for it.
func (v *View) told(h hostname.Host) bool {
	_, ok := v.backends[h]
	return ok
}
