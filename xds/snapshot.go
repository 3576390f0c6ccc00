package xds

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/meshfence/meshfence/policy/hostname"
)

// Snapshot is the configuration of one proxy at one moment.
type Snapshot struct {
	Proxy     Proxy
	Listeners []*listenerv3.Listener
	// Routes are the route configurations that listeners name.
	Routes map[string]*routev3.RouteConfiguration
	// Clusters are Envoy's, by name.
	Clusters map[string]*clusterv3.Cluster
	// Endpoints are those of the clusters of type EDS, by service name.
	Endpoints map[string]*endpointv3.ClusterLoadAssignment
	// Names is istiod's name table: host to addresses. Gateways have none.
	Names map[string][]string
	// NamedServices are the names in it that are those of Services, or of their Pods. Where it is nil, all names below
	// svc.<domain> are.
	NamedServices map[string]hostname.Host
}

// endpointsName returns the name under which a cluster's endpoints are asked for; ok is false where they come in
// another way.
func endpointsName(cluster *clusterv3.Cluster) (name string, ok bool) {
	if cluster.GetClusterType() != nil || cluster.GetType() != clusterv3.Cluster_EDS {
		return "", false
	}
	if name := cluster.GetEdsClusterConfig().GetServiceName(); name != "" {
		return name, true
	}
	return cluster.GetName(), true
}
