package xds_test

import (
	"fmt"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/xds"
)

// A sidecar in m1c1 has a cluster of a strict host with an endpoint in m1c2.
func Example() {
	const host = "reviews.shop.svc.cluster.local"
	const cluster = "outbound|9080||" + host
	snapshot := &xds.Snapshot{
		Proxy:  xds.Proxy{Cluster: "m1c1", Kind: xds.Sidecar, Namespace: "shop"},
		Routes: map[string]*routev3.RouteConfiguration{},
		Clusters: map[string]*clusterv3.Cluster{
			cluster: {Name: cluster, ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS}},
		},
		Endpoints: map[string]*endpointv3.ClusterLoadAssignment{
			cluster: assignment(cluster, endpoint("10.1.0.8", "m1c1"), endpoint("10.2.0.8", "m1c2")),
		},
	}
	for _, report := range xds.Verify(snapshot, []xds.Host{{FQDN: host, Fence: policy.Strict}}, xds.Rules{ByName: true}) {
		fmt.Println(report.Host, report.Result)
		for _, leak := range report.Leaks {
			fmt.Println("to", leak.Endpoints[0].Cluster)
		}
	}
	// Output:
	// reviews.shop.svc.cluster.local leaks
	// to m1c2
}
