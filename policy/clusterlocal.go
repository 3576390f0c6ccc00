package policy

import (
	"maps"
	"slices"
	"strings"

	"github.com/meshfence/meshfence/policy/hostname"
)

// ClusterLocalEntry is one host of serviceSettings in Istio's mesh config and the value of
// settings.clusterLocal that the scope gives it.
type ClusterLocalEntry struct {
	// Host is an exact FQDN or a wildcard such as *.shop.svc.cluster.local.
	Host string
	// Local reports whether clients reach only the endpoints of their own cluster.
	Local bool
}

// ClusterLocal returns the entries that hold meshConfig needs, wildcards of the domain before those of
// Namespaces before exact hosts, each group ordered by name. A host is local where its fence is strict;
// prefer and none are not. There is an entry only where it says something else than the next wider one
// (Istio lets the most specific entry win: docs/istio.md, section 1.1), so an unfenced cluster has none.
//
// Namespaces and Services that the config names count even before they exist here: a strict one is held
// from its first moment, and a looser one may exist only in another cluster.
//
// False is never said of Istio's own defaults, because that would remove them: everything in kube-system,
// kubernetes.default and istiod's own address stay local whatever the scope says.
func (x *Index) ClusterLocal() []ClusterLocalEntry { return x.clusterLocal(false) }

// FoldedClusterLocal returns fewer entries, for when those of ClusterLocal are too large for a ConfigMap. A
// Namespace that is not strict itself, but whose Services (two at least) all are, counts as strict, so that
// one wildcard stands for all of its hosts.
//
// That can only tighten. The wildcard also covers hosts of the Namespace that do not exist here: a Service
// made a moment ago is local until the entries are worked out again, and a Service that only another
// cluster has cannot be reached while the fold lasts. The reverse, one looser wildcard for a strict
// Namespace whose Services all ask for less, would let the next Service leak, and is never done.
func (x *Index) FoldedClusterLocal() []ClusterLocalEntry { return x.clusterLocal(true) }

// ClusterLocal returns what [Index.ClusterLocal] does.
func (v *View) ClusterLocal() []ClusterLocalEntry { return v.index.ClusterLocal() }

// FoldedClusterLocal returns what [Index.FoldedClusterLocal] does.
func (v *View) FoldedClusterLocal() []ClusterLocalEntry { return v.index.FoldedClusterLocal() }

func (x *Index) clusterLocal(fold bool) []ClusterLocalEntry {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var all, wildcards, hosts []ClusterLocalEntry
	suffix := ".svc." + x.config.ClusterDomain
	wide := x.config.scope.fallback == Strict
	if wide {
		all = append(all, ClusterLocalEntry{Host: "*" + suffix, Local: true})
	}
	named := x.config.scope.named()
	for name := range x.namespaces {
		if _, ok := named[name]; !ok {
			named[name] = nil
		}
	}
	for _, name := range slices.Sorted(maps.Keys(named)) {
		n, ok := x.namespaces[name]
		if !ok {
			n = &namespaceIndex{scope: x.config.Namespace(name, nil)}
		}
		local := n.local(fold)
		if name == kubeSystem {
			// A strict kube-system is said even inside a strict domain, because the domain's entry alone
			// does not tell it from an exempt one.
			if local {
				wildcards = append(wildcards, ClusterLocalEntry{Host: "*." + name + suffix, Local: true})
			}
			local = local || wide
		} else if local != wide {
			wildcards = append(wildcards, ClusterLocalEntry{Host: "*." + name + suffix, Local: local})
		}
		for _, host := range n.differing(name, local, named[name]) {
			if !local || !istioDefault(host, x.config.IstioNamespace) {
				hosts = append(hosts, ClusterLocalEntry{Host: host.FQDN(x.config.ClusterDomain), Local: !local})
			}
		}
	}
	slices.SortFunc(hosts, func(a, b ClusterLocalEntry) int { return strings.Compare(a.Host, b.Host) })
	return slices.Concat(all, wildcards, hosts)
}

const kubeSystem = "kube-system"

// istioDefault reports whether Istio makes the host local by itself
// (onMeshUpdated in Istio's pilot/pkg/model/cluster_local.go).
func istioDefault(h hostname.Host, istioNamespace string) bool {
	return h.Namespace == kubeSystem || h.IsAPIServer() ||
		h.Namespace == istioNamespace && strings.HasPrefix(h.Name, "istiod")
}

// named maps every Namespace that the config names to the Services that it names there.
func (s *scope) named() map[string][]string {
	named := map[string][]string{}
	for name := range s.exempt {
		named[name] = nil
	}
	for name := range s.namespaces.named {
		named[name] = nil
	}
	for host := range s.services {
		named[host.Namespace] = append(named[host.Namespace], host.Name)
	}
	return named
}

// local reports whether the Namespace is strict, or folded to be.
func (n *namespaceIndex) local(fold bool) bool {
	if fold && len(n.services) > 1 && n.byFence[Strict].count() == len(n.services) {
		return true
	}
	return n.scope.decide("", absent).Fence == Strict
}

// differing lists the Services of the Namespace, and those that the config names there, that are strict
// where the Namespace is not, or the other way round.
func (n *namespaceIndex) differing(namespace string, local bool, named []string) []hostname.Host {
	var hosts []hostname.Host
	for _, service := range named {
		_, exists := n.services[service]
		if !exists && (n.fence(service) == Strict) != local {
			hosts = append(hosts, hostname.Host{Namespace: namespace, Name: service})
		}
	}
	for f, names := range n.byFence {
		if (Fence(f) == Strict) == local {
			continue
		}
		for _, service := range slices.Concat(names.locked, names.free) {
			hosts = append(hosts, hostname.Host{Namespace: namespace, Name: service})
		}
	}
	return hosts
}
