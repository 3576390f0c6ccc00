package policy

import (
	"maps"
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
	// Host is the FQDN; for a wildcard it is one of the hosts that it covers, or the wildcard itself.
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

func (m *Match) add(host string, d Decision) {
	if !m.found[d.Fence] || host < m.hosts[d.Fence].Host {
		m.found[d.Fence], m.hosts[d.Fence] = true, FencedHost{host, d}
	}
}

func (m *Match) addFenced(host string, d Decision) {
	if d.Fence != None {
		m.add(host, d)
	}
}

// View answers the questions of one request, and notes what the index does not know yet, so that a Service
// created a moment ago can be loaded. It is not safe for concurrent use.
type View struct {
	index  *Index
	config *Config

	namespaces map[string]NamespaceScope
	services   map[Host]annotation

	missingNamespaces map[string]bool
	missingServices   map[Host]bool
}

// View returns a view for one request.
func (x *Index) View() *View {
	return &View{
		index:             x,
		config:            x.Config(),
		namespaces:        map[string]NamespaceScope{},
		services:          map[Host]annotation{},
		missingNamespaces: map[string]bool{},
		missingServices:   map[Host]bool{},
	}
}

// Config returns the config of the view.
func (v *View) Config() *Config { return v.config }

// Missing lists the Namespaces and Services that were asked for by name and that are neither in the index
// nor loaded. They were decided as if they had no label and no annotation.
func (v *View) Missing() (namespaces []string, services []Host) {
	return slices.Collect(maps.Keys(v.missingNamespaces)), slices.Collect(maps.Keys(v.missingServices))
}

// LoadNamespace tells the view the labels of a missing Namespace; nil where there is none.
func (v *View) LoadNamespace(name string, labels map[string]string) {
	v.namespaces[name] = v.config.Namespace(name, labels)
	delete(v.missingNamespaces, name)
}

// LoadService tells the view the annotations of a missing Service; nil where there is none.
func (v *View) LoadService(host Host, annotations map[string]string) {
	value, set := annotations[FenceKey]
	v.services[host] = annotation{value, set}
	delete(v.missingServices, host)
}

// Service decides a Service by the annotations given, whatever the index knows of it.
func (v *View) Service(host Host, annotations map[string]string) Decision {
	v.index.mu.RLock()
	defer v.index.mu.RUnlock()
	return v.scope(host.Namespace).Service(host.Name, annotations)
}

// Enforcement returns what becomes of findings in a Namespace. A finding on a locked host is not for the
// Namespace to soften: for it the config decides.
func (v *View) Enforcement(namespace string, locked bool) Enforcement {
	if locked {
		return v.config.Enforcement
	}
	v.index.mu.RLock()
	defer v.index.mu.RUnlock()
	return v.scope(namespace).enforcement
}

// Match answers for a host as [Resolve] returns it. A host outside the cluster domain matches nothing.
func (v *View) Match(host string) Match {
	v.index.mu.RLock()
	defer v.index.mu.RUnlock()
	var m Match
	if suffix, ok := Wildcard(host); ok {
		v.matchWildcard(&m, host, suffix)
	} else if h, ok := ParseHost(host, v.config.ClusterDomain); ok {
		m.add(host, v.decide(h))
	}
	return m
}

func (v *View) scope(namespace string) NamespaceScope {
	if n, ok := v.index.namespaces[namespace]; ok && n.known {
		return n.scope
	}
	if s, ok := v.namespaces[namespace]; ok {
		return s
	}
	v.missingNamespaces[namespace] = true
	return v.config.Namespace(namespace, nil)
}

func (v *View) decide(h Host) Decision {
	scope := v.scope(h.Namespace)
	a, ok := v.services[h]
	if n, indexed := v.index.namespaces[h.Namespace]; !ok && indexed {
		a, ok = n.services[h.Name]
	}
	if !ok && !scope.exempt {
		v.missingServices[h] = true
	}
	return scope.decide(h.Name, a.value, a.set)
}

// matchWildcard follows Istio's own rule: a wildcard covers what ends in its suffix
// (Name.SubsetOf in Istio's pkg/config/host).
func (v *View) matchWildcard(m *Match, pattern, suffix string) {
	domain := ".svc." + v.config.ClusterDomain
	if strings.HasSuffix(domain, suffix) {
		for name, n := range v.index.namespaces {
			n.match(m, name, domain)
		}
		m.addFenced(pattern, Decision{Fence: v.config.scope.fallback, By: "config scope.default"})
		return
	}
	rest, ok := strings.CutSuffix(suffix, domain)
	if !ok {
		return
	}
	service, namespace, inside := cutLast(rest)
	if !inside { // *prod.svc...: every Namespace whose name ends so
		for name, n := range v.index.namespaces {
			if strings.HasSuffix(name, namespace) {
				n.match(m, name, domain)
			}
		}
		return
	}
	m.addFenced(pattern, v.scope(namespace).decide("", "", false))
	n, ok := v.index.namespaces[namespace]
	if !ok {
		return
	}
	if service == "" {
		n.match(m, namespace, domain)
		return
	}
	for name, a := range n.services {
		if strings.HasSuffix(name, service) {
			m.add(name+"."+namespace+domain, n.scope.decide(name, a.value, a.set))
		}
	}
}

// match adds what a whole Namespace holds. Its own fence counts even before it has a Service.
func (n *namespaceIndex) match(m *Match, namespace, domain string) {
	all := "*." + namespace + domain
	m.addFenced(all, n.scope.decide("", "", false))
	for f, t := range n.tallies {
		if t.count == 0 {
			continue
		}
		if a, ok := n.services[t.example]; ok {
			m.add(t.example+"."+namespace+domain, n.scope.decide(t.example, a.value, a.set))
		} else {
			m.add(all, Decision{Fence: Fence(f), By: n.scope.base.by})
		}
	}
}

func cutLast(s string) (before, after string, found bool) {
	if i := strings.LastIndexByte(s, '.'); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return "", s, false
}
