package xds_test

import (
	"testing"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	aggregatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/aggregate/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/meshfence/meshfence/xds"
)

// paths lists every kind of path. Each test builds a snapshot around one endpoint, which the path ends at.
func paths() map[string]struct {
	build func(*testing.T, *xds.Snapshot, *endpointv3.LbEndpoint)
	want  xds.Path
} {
	const all = "0.0.0.0_9080"
	return map[string]struct {
		build func(*testing.T, *xds.Snapshot, *endpointv3.LbEndpoint)
		want  xds.Path
	}{
		"route": {
			func(t *testing.T, s *xds.Snapshot, e *endpointv3.LbEndpoint) {
				addEDS(s, base, e)
				addHTTP(t, s, reviews, routeTo(base))
			},
			xds.Path{Listener: all, Route: "9080/host/default", Via: "route", Cluster: base},
		},
		"route of a gateway's own host": {
			func(t *testing.T, s *xds.Snapshot, e *endpointv3.LbEndpoint) {
				addEDS(s, base, e)
				addHTTP(t, s, "bookinfo.example.com", routeTo(base))
			},
			xds.Path{Listener: all, Route: "9080/host/default", Via: "route", Cluster: base},
		},
		"route without a name": {
			func(t *testing.T, s *xds.Snapshot, e *endpointv3.LbEndpoint) {
				addEDS(s, base, e)
				nameless := routeTo(base)
				nameless.Name = ""
				addHTTP(t, s, reviews, &routev3.Route{}, nameless)
			},
			xds.Path{Listener: all, Route: "9080/host/#1", Via: "route", Cluster: base},
		},
		"inline routes": {
			func(t *testing.T, s *xds.Snapshot, e *endpointv3.LbEndpoint) {
				addEDS(s, base, e)
				config := addHTTP(t, s, reviews, routeTo(base))
				s.Listeners, s.Routes = nil, nil
				addListener(s, "0.0.0.0", chainOf(pack(t, &hcmv3.HttpConnectionManager{
					RouteSpecifier: &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: config},
				})))
			},
			xds.Path{Listener: all, Route: "9080/host/default", Via: "route", Cluster: base},
		},
		"weighted": {
			func(t *testing.T, s *xds.Snapshot, e *endpointv3.LbEndpoint) {
				addEDS(s, base, endpoint("10.1.0.9", "m1c1"))
				addEDS(s, subset, e)
				addHTTP(t, s, reviews, weighted(map[string]uint32{base: 99, subset: 1}))
			},
			xds.Path{Listener: all, Route: "9080/host/default", Via: "weighted", Cluster: subset},
		},
		"mirror": {
			func(t *testing.T, s *xds.Snapshot, e *endpointv3.LbEndpoint) {
				addEDS(s, base, endpoint("10.1.0.9", "m1c1"))
				addEDS(s, subset, e)
				mirrored := routeTo(base)
				mirrored.GetRoute().RequestMirrorPolicies = []*routev3.RouteAction_RequestMirrorPolicy{{Cluster: subset}}
				addHTTP(t, s, reviews, mirrored)
			},
			xds.Path{Listener: all, Route: "9080/host/default", Via: "mirror", Cluster: subset},
		},
		"mirror of a virtual host": {
			func(t *testing.T, s *xds.Snapshot, e *endpointv3.LbEndpoint) {
				addEDS(s, base, endpoint("10.1.0.9", "m1c1"))
				addEDS(s, subset, e)
				config := addHTTP(t, s, reviews, routeTo(base))
				config.VirtualHosts[0].RequestMirrorPolicies = []*routev3.RouteAction_RequestMirrorPolicy{{Cluster: subset}}
			},
			xds.Path{Listener: all, Route: "9080/host/default", Via: "mirror", Cluster: subset},
		},
		"mirror to another host": {
			func(t *testing.T, s *xds.Snapshot, e *endpointv3.LbEndpoint) {
				addEDS(s, base, endpoint("10.1.0.9", "m1c1"))
				addEDS(s, other, e)
				mirrored := routeTo(base)
				mirrored.GetRoute().RequestMirrorPolicies = []*routev3.RouteAction_RequestMirrorPolicy{{Cluster: other}}
				addHTTP(t, s, reviews, mirrored)
			},
			xds.Path{Listener: all, Route: "9080/host/default", Via: "mirror", Cluster: other},
		},
		"route to another host": {
			func(t *testing.T, s *xds.Snapshot, e *endpointv3.LbEndpoint) {
				addEDS(s, other, e)
				addHTTP(t, s, reviews, routeTo(other))
			},
			xds.Path{Listener: all, Route: "9080/host/default", Via: "route", Cluster: other},
		},
		"wildcard virtual host": {
			func(t *testing.T, s *xds.Snapshot, e *endpointv3.LbEndpoint) {
				addEDS(s, other, e)
				addHTTP(t, s, "*.svc.cluster.local", routeTo(other))
			},
			xds.Path{Listener: all, Route: "9080/host/default", Via: "route", Cluster: other},
		},
		"any domain on the host's own listener": {
			func(t *testing.T, s *xds.Snapshot, e *endpointv3.LbEndpoint) {
				addEDS(s, other, e)
				addHTTP(t, s, "*", routeTo(other))
				s.Listeners[0].Name, s.Listeners[0].Address = "own", socket(address, 9080)
			},
			xds.Path{Listener: "own", Route: "9080/host/default", Via: "route", Cluster: other},
		},
		"name in the cluster set": {
			func(t *testing.T, s *xds.Snapshot, e *endpointv3.LbEndpoint) {
				addEDS(s, "outbound|9080||reviews.default.svc.clusterset.local", e)
				addHTTP(t, s, "reviews.default.svc.clusterset.local", routeTo("outbound|9080||reviews.default.svc.clusterset.local"))
			},
			xds.Path{Listener: all, Route: "9080/host/default", Via: "route", Cluster: "outbound|9080||reviews.default.svc.clusterset.local"},
		},
		"tcp": {
			func(t *testing.T, s *xds.Snapshot, e *endpointv3.LbEndpoint) {
				addEDS(s, base, e)
				addListener(s, address, tcpChain(t, tcpTo(base)))
			},
			xds.Path{Listener: address + "_9080", Via: "tcp", Cluster: base},
		},
		"tcp to another host": {
			func(t *testing.T, s *xds.Snapshot, e *endpointv3.LbEndpoint) {
				addEDS(s, other, e)
				addListener(s, address, tcpChain(t, tcpTo(other)))
			},
			xds.Path{Listener: address + "_9080", Via: "tcp", Cluster: other},
		},
		"tcp by destination address": {
			func(t *testing.T, s *xds.Snapshot, e *endpointv3.LbEndpoint) {
				addEDS(s, other, e)
				chain := tcpChain(t, tcpTo(other))
				chain.FilterChainMatch = &listenerv3.FilterChainMatch{
					PrefixRanges: []*corev3.CidrRange{{AddressPrefix: address, PrefixLen: wrapperspb.UInt32(32)}},
				}
				addListener(s, "0.0.0.0", chain)
			},
			xds.Path{Listener: all, Via: "tcp", Cluster: other},
		},
		"tls by name": {
			func(t *testing.T, s *xds.Snapshot, e *endpointv3.LbEndpoint) {
				addEDS(s, other, e)
				chain := tcpChain(t, tcpTo(other))
				chain.Name, chain.FilterChainMatch = "tls", &listenerv3.FilterChainMatch{ServerNames: []string{reviews}}
				addListener(s, "0.0.0.0", chain)
			},
			xds.Path{Listener: all, FilterChain: "tls", Via: "tcp", Cluster: other},
		},
		"weighted tcp": {
			func(t *testing.T, s *xds.Snapshot, e *endpointv3.LbEndpoint) {
				addEDS(s, base, endpoint("10.1.0.9", "m1c1"))
				addEDS(s, subset, e)
				addListener(s, address, tcpChain(t, &tcpv3.TcpProxy{ClusterSpecifier: &tcpv3.TcpProxy_WeightedClusters{
					WeightedClusters: &tcpv3.TcpProxy_WeightedCluster{Clusters: []*tcpv3.TcpProxy_WeightedCluster_ClusterWeight{
						{Name: base, Weight: 9}, {Name: subset, Weight: 1},
					}},
				}}))
			},
			xds.Path{Listener: address + "_9080", Via: "weighted", Cluster: subset},
		},
		"default filter chain": {
			func(t *testing.T, s *xds.Snapshot, e *endpointv3.LbEndpoint) {
				addEDS(s, base, e)
				listener := addListener(s, "0.0.0.0", nil)
				listener.FilterChains, listener.DefaultFilterChain = nil, tcpChain(t, tcpTo(base))
			},
			xds.Path{Listener: all, FilterChain: "default", Via: "tcp", Cluster: base},
		},
		"east-west gateway": {
			func(t *testing.T, s *xds.Snapshot, e *endpointv3.LbEndpoint) {
				addEDS(s, dnat, e)
				chain := tcpChain(t, tcpTo(dnat))
				chain.FilterChainMatch = &listenerv3.FilterChainMatch{ServerNames: []string{dnat}}
				addListener(s, "0.0.0.0", chain)
			},
			xds.Path{Listener: all, Via: "tcp", Cluster: dnat},
		},
		"access log": {
			func(t *testing.T, s *xds.Snapshot, e *endpointv3.LbEndpoint) {
				addEDS(s, base, e)
				addListener(s, "10.0.0.1", tcpChain(t, tcpTo(other))).AccessLog = []*accesslogv3.AccessLog{grpcLog(t, base)}
			},
			xds.Path{Listener: "10.0.0.1_9080", Via: "reference", Cluster: base},
		},
		"filter of another type": {
			func(t *testing.T, s *xds.Snapshot, e *endpointv3.LbEndpoint) {
				addEDS(s, base, e)
				addListener(s, "10.0.0.1", chainOf(pack(t, &aggregatev3.ClusterConfig{Clusters: []string{base}})))
			},
			xds.Path{Listener: "10.0.0.1_9080", Via: "reference", Cluster: base},
		},
		"aggregate cluster": {
			func(t *testing.T, s *xds.Snapshot, e *endpointv3.LbEndpoint) {
				addEDS(s, base, e)
				s.Clusters["pair"] = &clusterv3.Cluster{Name: "pair", ClusterDiscoveryType: &clusterv3.Cluster_ClusterType{
					ClusterType: &clusterv3.Cluster_CustomClusterType{TypedConfig: pack(t, &aggregatev3.ClusterConfig{Clusters: []string{base}})},
				}}
				addHTTP(t, s, "pair.example.com", routeTo("pair"))
			},
			xds.Path{Listener: all, Route: "9080/host/default", Via: "reference", Cluster: base},
		},
		"static cluster": {
			func(t *testing.T, s *xds.Snapshot, e *endpointv3.LbEndpoint) {
				addType(s, base, clusterv3.Cluster_STATIC, e)
				addHTTP(t, s, reviews, routeTo(base))
			},
			xds.Path{Listener: all, Route: "9080/host/default", Via: "route", Cluster: base},
		},
		"endpoints under a service name": {
			func(t *testing.T, s *xds.Snapshot, e *endpointv3.LbEndpoint) {
				addEDS(s, base)
				s.Clusters[base].EdsClusterConfig = &clusterv3.Cluster_EdsClusterConfig{ServiceName: "named"}
				s.Endpoints["named"] = assignment("named", e)
				addHTTP(t, s, reviews, routeTo(base))
			},
			xds.Path{Listener: all, Route: "9080/host/default", Via: "route", Cluster: base},
		},
		"nothing but a cluster": {
			func(_ *testing.T, s *xds.Snapshot, e *endpointv3.LbEndpoint) { addEDS(s, base, e) },
			xds.Path{Via: "name", Cluster: base},
		},
	}
}

func TestVerifyFollowsEveryPath(t *testing.T) {
	t.Parallel()
	for name, test := range paths() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			local, remote := newSnapshot(), newSnapshot()
			test.build(t, local, endpoint("10.1.0.8", "m1c1"))
			test.build(t, remote, endpoint("10.2.0.8", "m1c2"))

			report := verify(t, local, strict(), xds.Rules{})
			if report.Result != xds.Held || len(report.Leaks) != 0 {
				t.Errorf("all endpoints local: want held, got %+v", report)
			}
			report = verify(t, remote, strict(), xds.Rules{})
			want := []xds.Leak{{
				Path:      test.want,
				Endpoints: []xds.Endpoint{{Address: "10.2.0.8:9080", Cluster: "m1c2"}},
				Reason:    "endpoints in m1c2",
			}}
			if diff := cmp.Diff(want, report.Leaks, anyProbe()); diff != "" || report.Result != xds.Leaks {
				t.Errorf("one endpoint in m1c2: result %s, leaks (-want +got):\n%s", report.Result, diff)
			}
		})
	}
}
