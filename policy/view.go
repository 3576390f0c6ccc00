package policy

import (
	"maps"
	"slices"
	"strings"

	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// View answers the questions of one request, and notes what the index does not know yet, so that a Service
// created a moment ago can be loaded. What it was told counts for the rest of the request, and its config
// stays the same. It is not safe for concurrent use.
type View struct {
	index  *Index
	config *Config

	// The maps are nil until something is put in.
	namespaces map[string]NamespaceScope
	labels     map[string]map[string]string // of those Namespaces
	services   map[hostname.Host]asked
	backends   map[hostname.Host]backend
	pods       map[PodQuestion]bool

	missingPods       map[PodQuestion]bool
	missingNamespaces map[string]bool
	missingServices   map[hostname.Host]bool
	// most is how many of those are asked for; 0 means any number.
	most int

	// objects are those that were loaded, nil for one that does not exist.
	objects        map[object.Key]*object.Object
	missingObjects map[object.Key]bool

	// absent are the Services that do not exist; supposing says what becomes of these, see [View.Suppose].
	absent    map[hostname.Host]bool
	supposing bool
}

// View returns a view for one request.
func (x *Index) View() *View { return &View{index: x, config: x.Config()} }

// Config returns the config of the view.
func (v *View) Config() *Config { return v.config }

// Lacks reports whether the view is missing anything: what [View.Missing], [View.MissingPods] and [View.MissingObjects] list.
func (v *View) Lacks() bool {
	return len(v.missingNamespaces)+len(v.missingServices)+len(v.missingPods)+len(v.missingObjects) > 0
}

// Missing lists the Namespaces and Services that were asked for by name and that are neither in the index
// nor loaded, sorted. They were decided as if they had no label and no annotation.
func (v *View) Missing() (namespaces []string, services []hostname.Host) {
	return slices.Sorted(maps.Keys(v.missingNamespaces)),
		slices.SortedFunc(maps.Keys(v.missingServices), hostname.Host.Compare)
}

// MissAtMost has the view answer that nothing is fenced once it lists more than n as missing, so that what is refused
// anyway because of their number costs little. Such answers must not be used.
func (v *View) MissAtMost(n int) { v.most = n }

// LoadNamespace tells the view the labels of a missing Namespace; nil where there is none.
func (v *View) LoadNamespace(name string, labels map[string]string) {
	put(&v.namespaces, name, v.config.Namespace(name, labels))
	put(&v.labels, name, labels)
	delete(v.missingNamespaces, name)
}

// NamespaceLabels returns the labels of a Namespace, which must not be changed.
func (v *View) NamespaceLabels(name string) map[string]string {
	if labels, loaded := v.labels[name]; loaded {
		return labels
	}
	v.index.mu.RLock()
	defer v.index.mu.RUnlock()
	if n, indexed := v.index.namespaces[name]; indexed {
		return n.labels
	}
	return nil
}

// LoadService tells the view the annotations of a missing Service; nil where there is none. Wildcards do
// not see it before [View.LoadServiceSpec].
func (v *View) LoadService(host hostname.Host, annotations map[string]string) {
	put(&v.services, host, ask(annotations))
	delete(v.missingServices, host)
}

// LoadServiceSpec tells the view that a loaded Service exists, what it selects, and its addresses.
func (v *View) LoadServiceSpec(host hostname.Host, spec object.ServiceSpec) {
	put(&v.backends, host, newBackend(spec))
}

// Untold calls f while the view has not been told of a Service, so that what the index knows of it counts.
func (v *View) Untold(host hostname.Host, f func()) {
	service, loaded := v.services[host]
	backend, specified := v.backends[host]
	delete(v.services, host)
	delete(v.backends, host)
	f()
	if loaded {
		put(&v.services, host, service)
		delete(v.missingServices, host)
	}
	if specified {
		put(&v.backends, host, backend)
	}
}

func put[K comparable, V any](m *map[K]V, key K, value V) {
	if *m == nil {
		*m = map[K]V{}
	}
	(*m)[key] = value
}

// Service decides a Service by the annotations given, whatever the index knows of it.
func (v *View) Service(host hostname.Host, annotations map[string]string) Decision {
	v.index.mu.RLock()
	defer v.index.mu.RUnlock()
	return v.scope(host.Namespace).Service(host.Name, annotations)
}

// ServiceUnder decides a Service as if its Namespace had the labels given.
func (v *View) ServiceUnder(labels map[string]string, host hostname.Host) Decision {
	v.index.mu.RLock()
	defer v.index.mu.RUnlock()
	scope := v.config.Namespace(host.Namespace, labels)
	annotation, _ := v.annotation(host)
	return scope.decide(host.Name, annotation)
}

// annotation returns what a Service asks for, and whether the view knows the Service.
func (v *View) annotation(h hostname.Host) (annotation asked, known bool) {
	annotation, known = v.services[h]
	if n, indexed := v.index.namespaces[h.Namespace]; !known && indexed {
		annotation, known = n.services[h.Name]
	}
	return annotation, known
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

// Match answers for a host as [hostname.Resolve] returns it. A host outside the cluster domain matches nothing.
// Case and a closing dot do not matter, as they do not to Envoy, which would serve such a host of a
// ServiceEntry in place of the Service.
func (v *View) Match(host string) Match {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	v.index.mu.RLock()
	defer v.index.mu.RUnlock()
	if suffix, ok := hostname.Wildcard(host); ok {
		return v.matchWildcard(host, suffix)
	}
	var m Match
	if v.most > 0 && len(v.missingNamespaces)+len(v.missingServices) > v.most {
		return m
	}
	if h, ok := hostname.Parse(host, v.config.ClusterDomain); ok {
		r := v.ranked(h)
		m.set(FencedHost{Host: host, Decision: r.decision, Enforcement: r.enforcement})
	}
	return m
}

// Known reports whether the host's Namespace or Service is in the index, or the config names the Service. What is
// not known does not count as missing: a name such as example.com is not asked for in the cluster.
func (v *View) Known(h hostname.Host) bool {
	v.index.mu.RLock()
	defer v.index.mu.RUnlock()
	if _, named := v.config.scope.services[h]; named {
		return true
	}
	n, ok := v.index.namespaces[h.Namespace]
	if !ok {
		return false
	}
	_, exists := n.services[h.Name]
	return n.known || exists
}

// Exists reports whether the index has the Service.
func (v *View) Exists(h hostname.Host) bool {
	v.index.mu.RLock()
	defer v.index.mu.RUnlock()
	return v.index.has(h)
}

// Serves reports whether there is a Service of that name, by the index or by what the view was told, that is more than
// another name for a host.
func (v *View) Serves(h hostname.Host) bool {
	if b, known := v.knownBackend(h); known {
		return !b.external
	}
	_, told := v.services[h]
	return told && !v.absent[h] || v.Exists(h)
}

func (v *View) scope(namespace string) NamespaceScope {
	if s, ok := v.namespaces[namespace]; ok {
		return s
	}
	if n, ok := v.index.namespaces[namespace]; ok && n.known {
		return v.indexed(n)
	}
	put(&v.missingNamespaces, namespace, true)
	return v.config.Namespace(namespace, nil)
}

// indexed returns the scope of a Namespace by the config of the view, which may have been replaced since.
func (v *View) indexed(n *namespaceIndex) NamespaceScope {
	if n.scope.config == v.config {
		return n.scope
	}
	return v.config.Namespace(n.scope.name, n.labels)
}

func (v *View) ranked(h hostname.Host) ranked {
	scope := v.scope(h.Namespace)
	annotation, ok := v.annotation(h)
	if !ok && !scope.exempt {
		put(&v.missingServices, h, true)
	}
	return v.supposed(h, scope.ranked(h.Name, annotation), scope.exempt)
}
