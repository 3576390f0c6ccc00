package xds

import (
	"bytes"
	"maps"
	"net/netip"
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/anypb"
)

// Path is one way through a proxy's configuration to a cluster of Envoy's.
type Path struct {
	// Listener is empty where nothing leads to the cluster.
	Listener string `json:"listener,omitempty"`
	// FilterChain is its name, or default for the default filter chain.
	FilterChain string `json:"filterChain,omitempty"`
	// Route is route configuration/virtual host/route; empty for TCP and TLS.
	Route string `json:"route,omitempty"`
	// Via says what leads to the cluster: route, weighted, mirror, tcp, tunnel, reference, name table or name.
	Via string `json:"via"`
	// Cluster is the name of Envoy's cluster.
	Cluster string `json:"cluster,omitempty"`
}

// The values of Path.Via.
const (
	viaRoute     = "route"
	viaWeighted  = "weighted"
	viaMirror    = "mirror"
	viaTCP       = "tcp"
	viaTunnel    = "tunnel"
	viaReference = "reference" // a filter, access log or tracer names the cluster (row A4)
	viaNameTable = "name table"
	viaName      = "name" // nothing leads there, but whatever knows the name can use it
)

// paths collects what is found for the hosts to verify.
type paths struct {
	snapshot *Snapshot
	fenced   fenced
	facts    facts
	// byAddress are the hosts to verify that the name table gives an address to.
	byAddress map[netip.Addr][]string
	// known are the names of the clusters of hosts to verify.
	known []string
	// byReference caches what an extension's configuration names: the same one is in most listeners.
	byReference map[string][]string
	// found are the paths of each host, in the order of the walk.
	found map[string][]Path
	// notes are what cannot be judged, by host; those under the empty name concern every host.
	notes map[string][]string
}

// follow walks the listeners of a snapshot.
func follow(s *Snapshot, hosts fenced) *paths {
	p := &paths{
		snapshot: s, fenced: hosts, facts: gather(s, hosts), byAddress: map[netip.Addr][]string{},
		byReference: map[string][]string{}, found: map[string][]Path{}, notes: map[string][]string{},
	}
	for _, host := range slices.Sorted(maps.Keys(p.facts)) {
		p.known = append(p.known, p.facts[host].clusters...)
	}
	for alias, host := range hosts {
		for _, address := range parseAddresses(s.Names[alias]) {
			p.byAddress[address] = append(p.byAddress[address], host)
		}
	}
	for _, listener := range s.Listeners {
		p.listener(listener)
	}
	return p
}

// add records a path for the hosts that its traffic was meant for, and for the host that its cluster belongs to.
func (p *paths) add(path Path, origins []string) {
	hosts := origins
	if host, ok := p.fenced.of(path.Cluster); ok && !slices.Contains(hosts, host) {
		hosts = append(slices.Clone(hosts), host)
	}
	for _, host := range hosts {
		if !slices.Contains(p.found[host], path) {
			p.found[host] = append(p.found[host], path)
		}
	}
	// An aggregate cluster has no endpoints; it names others.
	custom, ok := p.snapshot.Clusters[path.Cluster].GetClusterDiscoveryType().(*clusterv3.Cluster_ClusterType)
	if ok {
		p.reference(path, custom.ClusterType.GetTypedConfig())
	}
}

// reference adds the clusters of hosts to verify that an extension's configuration names.
func (p *paths) reference(at Path, config *anypb.Any) {
	for _, name := range p.names(config.GetValue()) {
		at.Via, at.Cluster = viaReference, name
		p.add(at, nil)
	}
}

// names returns the known clusters that occur as a whole string in an encoded message. A search in the encoding
// finds them at any depth, and in extensions whose type is not linked in here.
func (p *paths) names(encoded []byte) []string {
	if names, ok := p.byReference[string(encoded)]; ok {
		return names
	}
	if !bytes.Contains(encoded, []byte("bound")) { // outbound|..., outbound_.... and inbound-vip|...
		return nil
	}
	var names []string
	for _, name := range p.known {
		if bytes.Contains(encoded, protowire.AppendString(nil, name)) {
			names = append(names, name)
		}
	}
	p.byReference[string(encoded)] = names
	return names
}

func (p *paths) note(text string, origins ...string) {
	for _, host := range origins {
		if !slices.Contains(p.notes[host], text) {
			p.notes[host] = append(p.notes[host], text)
		}
	}
}

// unrouted returns the clusters of a host that no path leads to.
func (p *paths) unrouted(host string) []Path {
	of := p.facts[host]
	if of == nil {
		return nil
	}
	var unrouted []Path
	for _, name := range of.clusters {
		if !slices.ContainsFunc(p.found[host], func(path Path) bool { return path.Cluster == name }) {
			unrouted = append(unrouted, Path{Via: viaName, Cluster: name})
		}
	}
	return unrouted
}
