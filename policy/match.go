package policy

import (
	"slices"
	"strings"
	"sync"

	"github.com/meshfence/meshfence/policy/hostname"
)

// Match says which fences the hosts have that one host of an Istio object stands for.
type Match struct {
	found [len(fenceNames)]bool
	hosts [len(fenceNames)]FencedHost
}

// Has reports whether the match covers a host with that fence.
func (m *Match) Has(f Fence) bool { return m.found[f] }

// Only reports whether every host that the match covers has that fence, and there is one.
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

func (m *Match) set(f FencedHost) { m.found[f.Fence], m.hosts[f.Fence] = true, f }

// search keeps, for each fence, the tightest of the hosts that a wildcard covers.
type search [len(fenceNames)]tightest

func (s *search) offer(r ranked) { s[r.decision.Fence].offer(r) }

// offerServices offers the indexed Services of a Namespace whose names end in suffix, apart from those that the
// view was told of.
func (v *View) offerServices(s *search, n *namespaceIndex, scope NamespaceScope, suffix string) {
	if suffix == "" && scope == n.scope {
		for fence := range n.byFence {
			for _, names := range n.byFence[fence].lists() {
				v.offerFirst(&s[fence], n, names)
			}
		}
		return
	}
	for name, annotation := range n.services {
		if strings.HasSuffix(name, suffix) && !v.told(hostname.Host{Namespace: scope.name, Name: name}) {
			s.offer(scope.ranked(name, annotation))
		}
	}
}

// offerFirst offers the sorted Services of a Namespace, which differ in nothing but their names, until one is not
// kept, and counts the others.
func (v *View) offerFirst(t *tightest, n *namespaceIndex, names []string) {
	for i, name := range names {
		if v.told(hostname.Host{Namespace: n.scope.name, Name: name}) || t.offer(n.scope.ranked(name, n.services[name])) {
			continue
		}
		rest := names[i+1:]
		t.count += len(rest)
		for told := range v.backends {
			if _, found := slices.BinarySearch(rest, told.Name); found && told.Namespace == n.scope.name {
				t.count--
			}
		}
		return
	}
}

// offerTold offers the Services that the view was told of whose FQDNs end in suffix.
func (v *View) offerTold(s *search, suffix string) {
	for h := range v.backends {
		if strings.HasSuffix(h.FQDN(v.config.ClusterDomain), suffix) {
			s.offer(v.ranked(h))
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
	if strings.Contains(service, ".") || !hostname.IsLabel(namespace) {
		return Match{}
	}
	var s search
	scope := v.scope(namespace)
	if n, ok := v.index.namespaces[namespace]; ok {
		v.offerServices(&s, n, scope, service)
	}
	if h := hostname.APIServer(); h.Namespace == namespace && strings.HasSuffix(h.Name, service) && !v.index.has(h) && !v.told(h) {
		s.offer(scope.ranked(h.Name, absent)) // it is there, even where manifests do not have it
	}
	v.offerTold(&s, suffix)
	return s.match(v.config, pattern, scope)
}

// matchNamespaces covers the Namespaces whose names end in end, and those that will.
func (v *View) matchNamespaces(pattern, suffix, end string) Match {
	if len(v.namespaces)+len(v.backends) > 0 || v.config != v.index.config {
		return v.searchNamespaces(pattern, suffix, end)
	}
	return v.index.wide.match(pattern, func() Match { return v.searchNamespaces(pattern, suffix, end) })
}

func (v *View) searchNamespaces(pattern, suffix, end string) Match {
	var s search
	for name, n := range v.index.namespaces {
		if !strings.HasSuffix(name, end) {
			continue
		}
		scope, ok := v.namespaces[name]
		if !ok {
			scope = v.indexed(n)
		}
		if r := scope.ranked("", absent); r.decision.Fence != None {
			r.host = hostname.Host{Namespace: name, Name: anyName}
			s.offer(r)
		}
		v.offerServices(&s, n, scope, "")
	}
	v.offerTold(&s, suffix)
	return s.match(v.config, pattern, v.config.Namespace("", nil))
}

// match ends the search; toCome decides a Service to come.
func (s *search) match(config *Config, pattern string, toCome NamespaceScope) Match {
	var m Match
	for fence := range s {
		if s[fence].count > 0 {
			m.set(s[fence].fencedHost(config.ClusterDomain))
		}
	}
	base := toCome.decide("", absent)
	if base.Fence == None {
		return m
	}
	f := FencedHost{Host: pattern, Decision: base, Enforcement: toCome.enforce(base)}
	if m.found[base.Fence] {
		covered := m.hosts[base.Fence]
		covered.Enforcement = covered.Enforcement.harder(f.Enforcement)
		f = covered
	}
	m.set(f)
	return m
}

// maxWide is how many wildcards are remembered at most.
const maxWide = 64

// wideMatches remembers what wildcards over Namespaces stand for, so that a look at every Namespace is for a change of
// the scope and not for a request.
type wideMatches struct {
	mu    sync.Mutex
	found map[string]Match
}

// match returns what is remembered of a wildcard, and searches else. The index must be locked, for reading at least.
func (w *wideMatches) match(pattern string, search func() Match) Match {
	w.mu.Lock()
	defer w.mu.Unlock()
	m, known := w.found[pattern]
	if known {
		return m
	}
	if len(w.found) == maxWide {
		clear(w.found)
	}
	m = search()
	put(&w.found, pattern, m)
	return m
}

// forget is for whoever has the index locked for writing.
func (w *wideMatches) forget() { clear(w.found) }
