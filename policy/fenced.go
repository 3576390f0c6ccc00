package policy

import "slices"

// Fenced lists the Services that have a fence, by Namespace and name.
func (x *Index) Fenced(f Fence) []Host {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var hosts []Host
	for namespace, n := range x.namespaces {
		for _, names := range n.byFence[f].lists() {
			for _, service := range names {
				hosts = append(hosts, Host{Namespace: namespace, Name: service})
			}
		}
	}
	slices.SortFunc(hosts, Host.Compare)
	return hosts
}
