package policy

import (
	"maps"
	"net/netip"
	"slices"
	"sync"

	"github.com/meshfence/meshfence/policy/hostname"
)

// Index joins a Config with the Namespaces and Services of the cluster. An exact host is answered in
// constant time, a wildcard from the first Service of each fence in each Namespace, once after a change; only one that is
// narrower than a Namespace (*-db.shop.svc.cluster.local) looks at every Service, those of that Namespace.
// It is safe for concurrent use.
type Index struct {
	mu         sync.RWMutex
	config     *Config
	namespaces map[string]*namespaceIndex
	addresses  map[netip.Addr]hostname.Host
	aliases    map[string]map[hostname.Host]bool // the Services that are but another name, by the host
	strict     strictSets
	wide       wideMatches

	inventory   inventory
	subscribers subscribers
}

type namespaceIndex struct {
	labels   map[string]string
	known    bool // the Namespace object itself has been seen
	scope    NamespaceScope
	services map[string]asked
	marks    map[string]Marks // of the Services that have any
	uids     map[string]string
	byFence  [len(fenceNames)]fencedNames
	backends backends
	tiers    map[string]tier // of the strict Services
}

// fencedNames are the sorted names of the Services of a Namespace that have one fence.
type fencedNames struct {
	locked, free []string
}

// lists returns those that differ in nothing but their names together.
func (f *fencedNames) lists() [2][]string { return [2][]string{f.locked, f.free} }

func (f *fencedNames) count() int { return len(f.locked) + len(f.free) }

// NewIndex returns an Index without Namespaces and Services.
func NewIndex(config *Config) *Index {
	return &Index{config: config, namespaces: map[string]*namespaceIndex{}, addresses: map[netip.Addr]hostname.Host{}, strict: strictSets{}}
}

// Config returns the config in force.
func (x *Index) Config() *Config {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.config
}

// Enforces reports whether anything is refused: by the config, or by the label of a Namespace. It may look at every Namespace.
func (x *Index) Enforces() bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.config.Enforcement == Enforce {
		return true
	}
	for _, n := range x.namespaces {
		if n.scope.enforcement == Enforce {
			return true
		}
	}
	return false
}

// SetConfig puts another config in force and decides every Service anew.
func (x *Index) SetConfig(config *Config) {
	defer x.subscribers.notify(true, Change{}) // after the lock is released
	x.mu.Lock()
	defer x.mu.Unlock()
	defer x.wide.forget()
	x.config = config
	for name, n := range x.namespaces {
		x.setScope(n, config.Namespace(name, n.labels))
	}
}

// SetNamespace adds or replaces a Namespace.
func (x *Index) SetNamespace(name string, labels map[string]string) {
	changed := false
	defer func() { x.subscribers.notify(changed, Change{Namespace: name}) }()
	x.mu.Lock()
	defer x.mu.Unlock()
	defer x.wide.forget()
	n := x.namespace(name)
	n.labels, n.known = maps.Clone(labels), true
	changed = x.setScope(n, x.config.Namespace(name, labels))
}

// DeleteNamespace forgets the labels of a Namespace; its Services are deleted one by one.
func (x *Index) DeleteNamespace(name string) {
	changed := false
	defer func() { x.subscribers.notify(changed, Change{Namespace: name}) }()
	x.mu.Lock()
	defer x.mu.Unlock()
	defer x.wide.forget()
	n := x.namespace(name)
	n.labels, n.known = nil, false
	changed = x.setScope(n, x.config.Namespace(name, nil))
	x.prune(name, n)
}

// SetService adds or replaces a Service.
func (x *Index) SetService(host hostname.Host, annotations map[string]string) {
	changed := false
	defer func() { x.subscribers.notify(changed, Change{host.Namespace, host.Name}) }()
	x.mu.Lock()
	defer x.mu.Unlock()
	n := x.namespace(host.Namespace)
	annotation := ask(annotations)
	if old, ok := n.services[host.Name]; ok {
		if old == annotation {
			return
		}
		n.remove(host.Name)
	}
	changed = true
	defer x.wide.forget()
	x.around(host, n, func() { n.services[host.Name] = annotation })
	names := n.names(host.Name)
	i, _ := slices.BinarySearch(*names, host.Name)
	*names = slices.Insert(*names, i, host.Name)
}

// DeleteService forgets a Service.
func (x *Index) DeleteService(host hostname.Host) {
	changed := false
	defer func() { x.subscribers.notify(changed, Change{host.Namespace, host.Name}) }()
	x.mu.Lock()
	defer x.mu.Unlock()
	defer x.wide.forget()
	n := x.namespace(host.Namespace)
	if _, changed = n.services[host.Name]; changed {
		x.unlist(host, n)
		x.forgetAddresses(host, n)
		x.setAlias(host, n.backends.byName[host.Name].alias, "")
		n.backends.remove(host.Name)
		n.remove(host.Name)
	}
	delete(n.marks, host.Name)
	delete(n.uids, host.Name)
	x.prune(host.Namespace, n)
}

// Count returns how many Services have each fence, by its name. It takes a moment per Namespace, however many
// Services there are.
func (x *Index) Count() map[string]int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	counts := make(map[string]int, len(fenceNames))
	for fence, name := range fenceNames {
		counts[name] = 0
		for _, n := range x.namespaces {
			counts[name] += n.byFence[fence].count()
		}
	}
	return counts
}

func (x *Index) namespace(name string) *namespaceIndex {
	n, ok := x.namespaces[name]
	if !ok {
		n = &namespaceIndex{scope: x.config.Namespace(name, nil), services: map[string]asked{}}
		x.namespaces[name] = n
	}
	return n
}

func (x *Index) prune(name string, n *namespaceIndex) {
	if !n.known && len(n.services) == 0 {
		delete(x.namespaces, name)
	}
}

// setScope decides every Service of the Namespace anew where the scope is another one, and reports whether it is.
func (x *Index) setScope(n *namespaceIndex, scope NamespaceScope) (changed bool) {
	if scope == n.scope {
		return false
	}
	x.unlistAll(n)
	n.scope = scope
	x.listAll(n)
	n.byFence = [len(fenceNames)]fencedNames{}
	for service := range n.services {
		names := n.names(service)
		*names = append(*names, service)
	}
	for _, names := range n.byFence {
		slices.Sort(names.locked)
		slices.Sort(names.free)
	}
	return true
}

func (n *namespaceIndex) fence(service string) Fence {
	return n.scope.decide(service, n.services[service]).Fence
}

// names returns the list that a Service belongs to.
func (n *namespaceIndex) names(service string) *[]string {
	d := n.scope.decide(service, n.services[service])
	if d.Locked {
		return &n.byFence[d.Fence].locked
	}
	return &n.byFence[d.Fence].free
}

func (n *namespaceIndex) remove(service string) {
	names := n.names(service)
	if i, ok := slices.BinarySearch(*names, service); ok {
		*names = slices.Delete(*names, i, i+1)
	}
	delete(n.services, service)
}
