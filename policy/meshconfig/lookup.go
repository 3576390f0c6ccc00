package meshconfig

import (
	"fmt"
	"net"
	"strings"

	"go.yaml.in/yaml/v3"
)

// ClusterLocal answers which hosts a mesh config keeps inside the client's cluster, as istiod does
// (ClusterLocalHosts in Istio's pilot/pkg/model/cluster_local.go).
type ClusterLocal struct {
	exact    map[string]bool
	suffixes map[string]bool // of wildcards, without their star
}

// EffectiveClusterLocal reads mesh configs in the order in which istiod applies them: first the one that
// SHARED_MESH_CONFIG names, where there is one, then the standard one. The last that has serviceSettings
// decides alone (F2). Istio's defaults are part of the answer.
func EffectiveClusterLocal(domain string, texts ...string) (ClusterLocal, error) {
	var settings []setting
	discovery := "istiod.istio-system.svc:15012" // DefaultProxyConfig in Istio's pkg/config/mesh/mesh.go
	for _, text := range texts {
		mesh, err := parseMesh(text)
		if err != nil {
			return ClusterLocal{}, err
		}
		if mesh.list != nil {
			settings = mesh.settings
		}
		if address, ok := mesh.discoveryAddress(); ok {
			discovery = address
		}
	}
	defaults := []string{"*.kube-system.svc." + domain, "kubernetes.default.svc." + domain}
	if host, _, err := net.SplitHostPort(discovery); err == nil {
		if !strings.HasSuffix(host, domain) {
			host += "." + domain
		}
		defaults = append(defaults, host)
	}
	c := newClusterLocal(len(settings))
	removed := map[string]bool{}
	for _, s := range settings {
		c.set(s.host, s.local)
		for _, d := range defaults {
			if suffix, wildcard := strings.CutPrefix(d, "*"); !s.local && (s.host == d || wildcard && strings.HasSuffix(s.host, suffix)) {
				removed[d] = true
			}
		}
	}
	for _, d := range defaults {
		if !removed[d] {
			c.set(d, true)
		}
	}
	return c, nil
}

// Has reports whether clients reach only the endpoints of their own cluster for the host.
func (c ClusterLocal) Has(host string) bool {
	_, local, _ := c.match(host)
	return local
}

func newClusterLocal(size int) ClusterLocal {
	return ClusterLocal{exact: make(map[string]bool, size), suffixes: map[string]bool{}}
}

func (c ClusterLocal) set(host string, local bool) {
	if suffix, ok := strings.CutPrefix(host, "*"); ok {
		c.suffixes[suffix] = local
	} else {
		c.exact[host] = local
	}
}

// match returns the most specific entry for a host, exact or wildcard: the same host, else the longest
// wildcard that it ends in (MostSpecificHostMatch in Istio's pilot/pkg/model/config.go).
func (c ClusterLocal) match(host string) (by string, local, ok bool) {
	rest, wildcard := strings.CutPrefix(host, "*")
	if local, ok := c.exact[host]; ok && !wildcard {
		return host, local, true
	}
	for i := range len(rest) + 1 {
		if local, ok := c.suffixes[rest[i:]]; ok {
			return "*" + rest[i:], local, true
		}
	}
	return "", false, false
}

// DiscardsShared reports whether a standard mesh config has any serviceSettings, even an empty list: then
// istiod ignores those of the mesh config that SHARED_MESH_CONFIG names, ours among them (F2).
func DiscardsShared(standard string) (bool, error) {
	mesh, err := parseMesh(standard)
	if err != nil {
		return false, fmt.Errorf("standard %w", err)
	}
	return mesh.list != nil, nil
}

// discoveryAddress returns defaultConfig.discoveryAddress.
func (m *meshText) discoveryAddress() (address string, ok bool) {
	node := m.root
	for _, name := range []string{"defaultConfig", "discoveryAddress"} {
		if node == nil || node.Kind != yaml.MappingNode {
			return "", false
		}
		_, value, err := field(node, name)
		if err != nil || value == nil {
			return "", false
		}
		node = resolve(value)
	}
	return node.Value, node.Kind == yaml.ScalarNode && node.ShortTag() == "!!str"
}
