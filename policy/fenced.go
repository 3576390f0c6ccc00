package policy

import (
	"slices"

	"github.com/meshfence/meshfence/policy/hostname"
)

// Fenced lists the Services of a Namespace, or of all where it is empty, that have one of the fences, by Namespace and
// name.
func (x *Index) Fenced(namespace string, fences ...Fence) []hostname.Host {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var hosts []hostname.Host
	for name, n := range x.within(namespace) {
		for _, f := range fences {
			for _, services := range n.byFence[f].lists() {
				for _, service := range services {
					hosts = append(hosts, hostname.Host{Namespace: name, Name: service})
				}
			}
		}
	}
	slices.SortFunc(hosts, hostname.Host.Compare)
	return hosts
}

// Named lists the Services that the config itself names, in a Namespace or in all where it is empty, sorted, whether they
// exist in this cluster or not.
func (c *Config) Named(namespace string) []hostname.Host {
	var hosts []hostname.Host
	for host := range c.scope.services {
		if namespace == "" || host.Namespace == namespace {
			hosts = append(hosts, host)
		}
	}
	slices.SortFunc(hosts, hostname.Host.Compare)
	return hosts
}

// Names reports whether the config itself names a Service.
func (c *Config) Names(host hostname.Host) bool {
	_, named := c.scope.services[host]
	return named
}

// Annotated returns the Services whose own annotation asks for a fence, and for which.
func (x *Index) Annotated() map[hostname.Host]Fence {
	x.mu.RLock()
	defer x.mu.RUnlock()
	found := map[hostname.Host]Fence{}
	for namespace, n := range x.namespaces {
		for name, annotation := range n.services {
			if fence, ok := annotation.fence(); ok {
				found[hostname.Host{Namespace: namespace, Name: name}] = fence
			}
		}
	}
	return found
}

// Annotation returns the fence for which the annotation of a Service asks; asks is false where it has none, and exists
// where there is no such Service.
func (x *Index) Annotation(h hostname.Host) (fence Fence, asks, exists bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	n, ok := x.namespaces[h.Namespace]
	if !ok {
		return None, false, false
	}
	annotation, exists := n.services[h.Name]
	fence, asks = annotation.fence()
	return fence, asks && exists, exists
}
