package search

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/pkg/serviceregistry/util/label"
	"istio.io/istio/pilot/pkg/xds/endpoints"
	"istio.io/istio/pkg/cluster"
	"istio.io/istio/pkg/network"

	"github.com/meshfence/meshfence"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/xds"
)

// clientIP returns the address of the clients in a cluster, which no Pod of a world has.
func clientIP(cluster string) string {
	if cluster == near {
		return "10.1.7.7"
	}
	return "10.2.7.7"
}

// proxyOf returns a client as istiod knows it.
func proxyOf(p xds.Proxy) *model.Proxy {
	locality := &corev3.Locality{Region: region(p.Cluster), Zone: "zone"}
	labels := label.AugmentLabels(p.Labels, cluster.ID(p.Cluster), region(p.Cluster)+"/zone", "", network.ID(p.Network))
	proxy := &model.Proxy{
		Type: model.SidecarProxy, ConfigNamespace: p.Namespace, IPAddresses: []string{clientIP(p.Cluster)}, ID: "client." + p.Namespace,
		Labels: labels, Locality: locality,
		Metadata: &model.NodeMetadata{
			ClusterID: cluster.ID(p.Cluster), Network: network.ID(p.Network), Namespace: p.Namespace, Labels: labels, IstioVersion: meshfence.IstioVersion(),
			DNSCapture: model.StringBool(p.DNSCapture),
		},
	}
	if p.Kind == xds.Gateway {
		proxy.Type = model.Router
	}
	return proxy
}

// snapshot returns what istiod would send a client now.
func (v *server) snapshot(p xds.Proxy) *xds.Snapshot {
	proxy := v.SetupProxy(proxyOf(p))
	push := v.PushContext()
	s := &xds.Snapshot{
		Proxy: p, Listeners: v.Listeners(proxy), Routes: map[string]*routev3.RouteConfiguration{},
		Clusters: map[string]*clusterv3.Cluster{}, Endpoints: map[string]*endpointv3.ClusterLoadAssignment{},
		Names: map[string][]string{}, NamedServices: map[string]hostname.Host{},
	}
	for _, r := range v.RoutesFromListeners(proxy, s.Listeners) {
		s.Routes[r.GetName()] = r
	}
	for _, c := range v.Clusters(proxy) {
		s.Clusters[c.GetName()] = c
		if c.GetClusterType() != nil || c.GetType() != clusterv3.Cluster_EDS {
			continue
		}
		name := c.GetEdsClusterConfig().GetServiceName()
		if name == "" {
			name = c.GetName()
		}
		builder := endpoints.NewEndpointBuilder(c.GetName(), proxy, push)
		s.Endpoints[name] = builder.BuildClusterLoadAssignment(v.Env().EndpointIndex)
	}
	if p.Kind == xds.Sidecar {
		for name, info := range v.ConfigGen.BuildNameTable(proxy, push).GetTable() {
			s.Names[name] = info.GetIps()
			if info.GetShortname() != "" {
				s.NamedServices[name] = hostname.Host{Namespace: info.GetNamespace(), Name: info.GetShortname()}
			}
		}
	}
	return s
}
