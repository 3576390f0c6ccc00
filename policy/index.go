package policy

import (
	"maps"
	"sync"
)

// Index joins a Config with the Namespaces and Services of the cluster. An exact host is answered in
// constant time and a wildcard from one tally for each Namespace; only a wildcard that is narrower than a
// Namespace (*-db.shop.svc.cluster.local) looks at Services, those of that Namespace. It is safe for
// concurrent use.
type Index struct {
	mu         sync.RWMutex
	config     *Config
	namespaces map[string]*namespaceIndex
}

type namespaceIndex struct {
	labels   map[string]string
	known    bool // the Namespace object itself has been seen
	scope    NamespaceScope
	services map[string]annotation
	tallies  [len(fenceNames)]tally
}

// annotation is the value of the fence annotation of one Service.
type annotation struct {
	value string
	set   bool
}

// tally counts the Services of a Namespace with one fence.
type tally struct {
	count   int
	example string // the name of one of them; empty when that one went away
}

// NewIndex returns an Index without Namespaces and Services.
func NewIndex(config *Config) *Index {
	return &Index{config: config, namespaces: map[string]*namespaceIndex{}}
}

// Config returns the config in force.
func (x *Index) Config() *Config {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.config
}

// SetConfig puts another config in force and decides every Service anew.
func (x *Index) SetConfig(config *Config) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.config = config
	for name, n := range x.namespaces {
		n.decide(config, name)
	}
}

// SetNamespace adds or replaces a Namespace.
func (x *Index) SetNamespace(name string, labels map[string]string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := x.namespace(name)
	if n.known && maps.Equal(n.labels, labels) {
		return
	}
	n.labels, n.known = maps.Clone(labels), true
	n.decide(x.config, name)
}

// DeleteNamespace forgets the labels of a Namespace; its Services are deleted one by one.
func (x *Index) DeleteNamespace(name string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := x.namespace(name)
	n.labels, n.known = nil, false
	n.decide(x.config, name)
	x.prune(name, n)
}

// SetService adds or replaces a Service.
func (x *Index) SetService(host Host, annotations map[string]string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := x.namespace(host.Namespace)
	value, set := annotations[FenceKey]
	if old, ok := n.services[host.Name]; ok {
		n.remove(host.Name, old)
	}
	n.services[host.Name] = annotation{value, set}
	n.add(host.Name, annotation{value, set})
}

// DeleteService forgets a Service.
func (x *Index) DeleteService(host Host) {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := x.namespace(host.Namespace)
	if old, ok := n.services[host.Name]; ok {
		n.remove(host.Name, old)
		delete(n.services, host.Name)
	}
	x.prune(host.Namespace, n)
}

func (x *Index) namespace(name string) *namespaceIndex {
	n, ok := x.namespaces[name]
	if !ok {
		n = &namespaceIndex{scope: x.config.Namespace(name, nil), services: map[string]annotation{}}
		x.namespaces[name] = n
	}
	return n
}

func (x *Index) prune(name string, n *namespaceIndex) {
	if !n.known && len(n.services) == 0 {
		delete(x.namespaces, name)
	}
}

func (n *namespaceIndex) decide(config *Config, name string) {
	n.scope = config.Namespace(name, n.labels)
	n.tallies = [len(fenceNames)]tally{}
	for service, a := range n.services {
		n.add(service, a)
	}
}

func (n *namespaceIndex) add(service string, a annotation) {
	t := &n.tallies[n.scope.decide(service, a.value, a.set).Fence]
	t.count++
	if t.example == "" || service < t.example {
		t.example = service
	}
}

func (n *namespaceIndex) remove(service string, a annotation) {
	t := &n.tallies[n.scope.decide(service, a.value, a.set).Fence]
	t.count--
	if t.example == service {
		t.example = ""
	}
}
