package policy

import (
	"slices"

	"github.com/meshfence/meshfence/policy/hostname"
)

// Marks are what admission writes on a fenced Service: its fence, in [FencedLabel], and what decides it, in
// [FencedByAnnotation]. A Service that is not fenced has none.
type Marks struct{ Fence, By string }

// MarksOf returns those that are among labels and annotations.
func MarksOf(labels, annotations map[string]string) Marks {
	return Marks{labels[FencedLabel], annotations[FencedByAnnotation]}
}

// Marks returns those that a Service is to have.
func (d Decision) Marks() Marks {
	if d.Fence == None {
		return Marks{}
	}
	return Marks{d.Fence.String(), d.By}
}

// SetMarks notes the marks that a Service has. It is called before SetService, which tells of the change.
func (x *Index) SetMarks(host hostname.Host, marks Marks) {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := x.namespace(host.Namespace)
	switch {
	case marks == Marks{}:
		delete(n.marks, host.Name)
	case n.marks == nil:
		n.marks = map[string]Marks{host.Name: marks}
	default:
		n.marks[host.Name] = marks
	}
}

// Unmarked lists the Services that do not have the marks that they are to have, sorted: a Service, all of a Namespace where
// its name is empty, or all where both are.
func (x *Index) Unmarked(of hostname.Host) []hostname.Host {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var hosts []hostname.Host
	look := func(namespace string, n *namespaceIndex, service string) {
		d := n.scope.decide(service, n.services[service])
		if !d.Exempt && n.marks[service] != d.Marks() {
			hosts = append(hosts, hostname.Host{Namespace: namespace, Name: service})
		}
	}
	for namespace, n := range x.within(of.Namespace) {
		if of.Name == "" {
			for service := range n.services {
				look(namespace, n, service)
			}
		} else if _, exists := n.services[of.Name]; exists {
			look(namespace, n, of.Name)
		}
	}
	slices.SortFunc(hosts, hostname.Host.Compare)
	return hosts
}

// within returns one Namespace, or all where the name is empty.
func (x *Index) within(namespace string) map[string]*namespaceIndex {
	if namespace == "" {
		return x.namespaces
	}
	if n, ok := x.namespaces[namespace]; ok {
		return map[string]*namespaceIndex{namespace: n}
	}
	return nil
}
