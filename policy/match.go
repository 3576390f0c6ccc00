package policy

import (
	"cmp"
	"slices"
	"strings"
)

// Match says which fences the hosts have that one host of an Istio object stands for.
type Match struct {
	found [len(fenceNames)]bool
	hosts [len(fenceNames)]FencedHost
}

// FencedHost is one host and its decision.
type FencedHost struct {
	// Host is the FQDN; for a wildcard it is the first of the Services that it covers, else the wildcard of
	// a Namespace that it covers, else the wildcard itself.
	Host string
	Decision
}

// Has says whether the match covers a host with that fence.
func (m *Match) Has(f Fence) bool { return m.found[f] }

// Only says whether every host that the match covers has that fence, and there is one.
func (m *Match) Only(f Fence) bool {
	for other, found := range m.found {
		if found != (Fence(other) == f) {
			return false
		}
	}
	return true
}

// Host returns a host with that fence; only to be used when Has says that there is one.
func (m *Match) Host(f Fence) FencedHost { return m.hosts[f] }

func (m *Match) set(host string, d Decision) {
	m.found[d.Fence], m.hosts[d.Fence] = true, FencedHost{host, d}
}

// search keeps, for each fence, the first of the hosts that a wildcard covers. The order does not depend on
// that in which they are offered. A host named anyName stands for a Namespace.
type search [len(fenceNames)]struct {
	found    bool
	host     Host
	decision Decision
}

const anyName = "*"

func (s *search) offer(host Host, d Decision) {
	best := &s[d.Fence]
	if !best.found || firstHost(host, best.host) < 0 {
		best.found, best.host, best.decision = true, host, d
	}
}

// firstHost orders Services before Namespaces.
func firstHost(a, b Host) int {
	if (a.Name == anyName) != (b.Name == anyName) {
		return cmp.Compare(strings.Count(a.Name, anyName), strings.Count(b.Name, anyName))
	}
	return a.Compare(b)
}

// offerServices offers the indexed Services of a Namespace whose names end in suffix, apart from those that the
// view was told of.
func (v *View) offerServices(s *search, n *namespaceIndex, scope NamespaceScope, suffix string) {
	offered := func(name string) bool { return strings.HasSuffix(name, suffix) && !v.told(Host{scope.name, name}) }
	if suffix == "" && scope == n.scope {
		for _, names := range n.byFence {
			if i := slices.IndexFunc(names, offered); i >= 0 {
				s.offer(Host{scope.name, names[i]}, scope.decide(names[i], n.services[names[i]]))
			}
		}
		return
	}
	for name, annotation := range n.services {
		if offered(name) {
			s.offer(Host{scope.name, name}, scope.decide(name, annotation))
		}
	}
}

// offerTold offers the Services that the view was told of whose FQDNs end in suffix.
func (v *View) offerTold(s *search, suffix string) {
	for h := range v.backends {
		if strings.HasSuffix(h.FQDN(v.config.ClusterDomain), suffix) {
			s.offer(h, v.decide(h))
		}
	}
}

// matchWildcard follows Istio's own rule: a wildcard covers what ends in its suffix (Name.SubsetOf in
// Istio's pkg/config/host). A fence counts even before there is a Service that has it.
func (v *View) matchWildcard(pattern, suffix string) Match {
	domain := ".svc." + v.config.ClusterDomain
	if strings.HasSuffix(domain, suffix) { // *, *.local, *.svc.cluster.local
		return v.matchNamespaces(pattern, suffix, "")
	}
	rest, ok := strings.CutSuffix(suffix, domain)
	if !ok {
		return Match{}
	}
	dot := strings.LastIndexByte(rest, '.')
	if dot < 0 { // *prod.svc.cluster.local
		return v.matchNamespaces(pattern, suffix, rest)
	}
	service, namespace := rest[:dot], rest[dot+1:]
	if strings.Contains(service, ".") || !isLabel(namespace) {
		return Match{}
	}
	var s search
	scope := v.scope(namespace)
	if n, ok := v.index.namespaces[namespace]; ok {
		v.offerServices(&s, n, scope, service)
	}
	if h := apiServer(); h.Namespace == namespace && strings.HasSuffix(h.Name, service) {
		s.offer(h, scope.decide(h.Name, absent)) // it is there, even where manifests do not have it
	}
	v.offerTold(&s, suffix)
	return s.match(v.config, pattern, scope.decide("", absent))
}

// matchNamespaces covers the Namespaces whose names end in end, and those that will.
func (v *View) matchNamespaces(pattern, suffix, end string) Match {
	var s search
	for name, n := range v.index.namespaces {
		if !strings.HasSuffix(name, end) {
			continue
		}
		scope, ok := v.namespaces[name]
		if !ok {
			scope = v.indexed(n)
		}
		if d := scope.decide("", absent); d.Fence != None {
			s.offer(Host{name, anyName}, d)
		}
		v.offerServices(&s, n, scope, "")
	}
	v.offerTold(&s, suffix)
	toCome := v.config.Namespace("", nil)
	return s.match(v.config, pattern, toCome.decide("", absent))
}

// match ends the search; base is the fence of a Service to come.
func (s *search) match(config *Config, pattern string, base Decision) Match {
	var m Match
	if base.Fence != None {
		m.set(pattern, base)
	}
	for _, best := range s {
		if best.found {
			m.set(best.host.FQDN(config.ClusterDomain), best.decision)
		}
	}
	return m
}
