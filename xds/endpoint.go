package xds

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
)

// Unknown stands for the cluster of an endpoint that neither its metadata nor its address tells.
const Unknown = "unknown"

// Addresses maps address ranges to the ids of the clusters that they belong to.
type Addresses map[netip.Prefix]string

// masked returns the same with no bit of an address set beyond its prefix, which lookups rely on.
func (a Addresses) masked() Addresses {
	masked := make(Addresses, len(a))
	for prefix, cluster := range a {
		masked[prefix.Masked()] = cluster
	}
	return masked
}

// cluster returns the cluster of the narrowest range that holds an address, and the empty string without one.
func (a Addresses) cluster(address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil || len(a) == 0 {
		return ""
	}
	ip = ip.Unmap()
	for bits := ip.BitLen(); bits >= 0; bits-- {
		prefix, err := ip.Prefix(bits)
		if err != nil {
			return ""
		}
		if cluster, ok := a[prefix]; ok {
			return cluster
		}
	}
	return ""
}

// Endpoint is one endpoint that a cluster of Envoy's may send to.
type Endpoint struct {
	// Address is address:port, or a name that the client resolves.
	Address string `json:"address"`
	// Cluster is the id of the cluster that it is in, or unknown.
	Cluster string `json:"cluster"`
	// Priority is 0 for the endpoints that are used first.
	Priority uint32 `json:"priority,omitempty"`
	// Unready reports whether it takes no traffic now: it is unhealthy or draining.
	Unready bool `json:"unready,omitempty"`
}

func (e Endpoint) String() string {
	text := fmt.Sprintf("%s in %s", e.Address, e.Cluster)
	if e.Priority > 0 {
		text += fmt.Sprintf(", priority %d", e.Priority)
	}
	if e.Unready {
		text += ", not ready"
	}
	return text
}

// pool is what a cluster of Envoy's sends to.
type pool struct {
	endpoints []Endpoint
	// open says why the endpoints are not all of it; empty where they are.
	open string
}

// judge finds out in which cluster endpoints are, as a client of one of them sees it.
type judge struct {
	own       string
	addresses Addresses
	services  map[netip.Addr]bool
	snapshot  *Snapshot
}

func newJudge(s *Snapshot, rules Rules) judge {
	return judge{own: s.Proxy.Cluster, addresses: rules.Addresses.masked(), services: rules.Services, snapshot: s}
}

// pool returns what a cluster of Envoy's sends to; to one that does not exist, Envoy sends nothing.
func (j judge) pool(name string) pool {
	cluster, ok := j.snapshot.Clusters[name]
	if !ok {
		return pool{}
	}
	if custom := cluster.GetClusterType(); custom != nil {
		return pool{open: fmt.Sprintf("the cluster is of type %s, which finds its endpoints itself", custom.GetName())}
	}
	if cluster.GetType() == clusterv3.Cluster_ORIGINAL_DST {
		return pool{open: "the cluster is ORIGINAL_DST: it sends to whatever address the client dials"}
	}
	assignment := cluster.GetLoadAssignment()
	if name, ok := endpointsName(cluster); ok {
		assignment = j.snapshot.Endpoints[name]
	}
	return pool{endpoints: j.endpoints(cluster, assignment)}
}

// endpoints leaves out what a weight of 0 keeps traffic from.
func (j judge) endpoints(cluster *clusterv3.Cluster, assignment *endpointv3.ClusterLoadAssignment) []Endpoint {
	var endpoints []Endpoint
	for _, locality := range assignment.GetEndpoints() {
		// Envoy reads the weight of a locality only where the cluster asks for that.
		weighted := cluster.GetCommonLbConfig().GetLocalityWeightedLbConfig() != nil
		if weight := locality.GetLoadBalancingWeight(); weighted && weight != nil && weight.GetValue() == 0 {
			continue
		}
		for _, endpoint := range locality.GetLbEndpoints() {
			if weight := endpoint.GetLoadBalancingWeight(); weight != nil && weight.GetValue() == 0 {
				continue
			}
			host, port := address(endpoint)
			endpoints = append(endpoints, Endpoint{
				Address:  net.JoinHostPort(host, port),
				Cluster:  j.cluster(host, endpoint.GetMetadata()),
				Priority: locality.GetPriority(),
				Unready:  unready(endpoint.GetHealthStatus()),
			})
		}
	}
	return endpoints
}

// cluster prefers the answer that is not the client's own cluster where metadata and address disagree: the metadata
// of a ServiceEntry or a hand-made EndpointSlice names the cluster whose API server holds it (rows D1, E1, E2). A
// name says nothing, whatever the metadata claims: the client resolves it.
func (j judge) cluster(host string, metadata *corev3.Metadata) string {
	if _, err := netip.ParseAddr(host); err != nil {
		return Unknown
	}
	byAddress, byMetadata := j.addresses.cluster(host), metadataCluster(metadata)
	for _, cluster := range []string{byMetadata, byAddress} {
		if cluster != "" && cluster != j.own {
			return cluster
		}
	}
	if byAddress == "" && byMetadata == "" {
		return Unknown
	}
	return j.own
}

// metadataCluster returns the last part of workload;namespace;service;revision;cluster
// (AppendLbEndpointMetadata in Istio's pilot/pkg/networking/util/util.go).
func metadataCluster(metadata *corev3.Metadata) string {
	workload := metadata.GetFilterMetadata()["istio"].GetFields()["workload"].GetStringValue()
	parts := strings.Split(workload, ";")
	if len(parts) != 5 {
		return ""
	}
	return parts[4]
}

// address returns the host and port of an endpoint. The address of an internal one, which a tunnel listens on, is
// its id: that is where the tunnel leads.
func address(endpoint *endpointv3.LbEndpoint) (host, port string) {
	if name := endpoint.GetEndpointName(); name != "" {
		return name, ""
	}
	given := endpoint.GetEndpoint().GetAddress()
	if internal := given.GetEnvoyInternalAddress(); internal != nil {
		host, port, err := net.SplitHostPort(internal.GetEndpointId())
		if err != nil {
			return internal.GetEndpointId(), ""
		}
		return host, port
	}
	if pipe := given.GetPipe(); pipe != nil {
		return pipe.GetPath(), ""
	}
	socket := given.GetSocketAddress()
	return socket.GetAddress(), strconv.Itoa(int(socket.GetPortValue()))
}

func unready(status corev3.HealthStatus) bool {
	switch status {
	case corev3.HealthStatus_UNHEALTHY, corev3.HealthStatus_DRAINING, corev3.HealthStatus_TIMEOUT:
		return true
	}
	return false
}
