package xds_test

import (
	"net/netip"
	"testing"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	grpclogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/xds"
)

const (
	reviews = "reviews.default.svc.cluster.local"
	base    = "outbound|9080||" + reviews
	subset  = "outbound|9080|v1|" + reviews
	dnat    = "outbound_.9080_._." + reviews
	other   = "outbound|9080||reviews-c2.default.svc.cluster.local"
	address = "10.101.0.7" // the Service's
)

func strict() []xds.Host { return []xds.Host{{FQDN: reviews, Fence: policy.Strict}} }

// anyProbe leaves out which connection shows a leak.
func anyProbe() cmp.Option { return cmpopts.IgnoreFields(xds.Leak{}, "Probe") }

// newSnapshot returns an empty one of a sidecar in m1c1.
func newSnapshot() *xds.Snapshot {
	return &xds.Snapshot{
		Proxy:     xds.Proxy{Cluster: "m1c1", Kind: xds.Sidecar, Namespace: "default", DNSCapture: true},
		Routes:    map[string]*routev3.RouteConfiguration{},
		Clusters:  map[string]*clusterv3.Cluster{},
		Endpoints: map[string]*endpointv3.ClusterLoadAssignment{},
		Names:     map[string][]string{reviews: {address}},
	}
}

// endpoint is one whose metadata names its cluster, as istiod's does.
func endpoint(address, cluster string) *endpointv3.LbEndpoint {
	return &endpointv3.LbEndpoint{
		HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: socket(address, 9080)}},
		Metadata: &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"istio": {Fields: map[string]*structpb.Value{
			"workload": structpb.NewStringValue("reviews-v1;default;reviews;v1;" + cluster),
		}}}},
	}
}

func socket(address string, port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: address, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}}
}

func assignment(name string, endpoints ...*endpointv3.LbEndpoint) *endpointv3.ClusterLoadAssignment {
	return &endpointv3.ClusterLoadAssignment{
		ClusterName: name,
		Endpoints:   []*endpointv3.LocalityLbEndpoints{{LbEndpoints: endpoints}},
	}
}

// addEDS adds a cluster with the endpoints.
func addEDS(s *xds.Snapshot, name string, endpoints ...*endpointv3.LbEndpoint) *endpointv3.ClusterLoadAssignment {
	s.Clusters[name] = &clusterv3.Cluster{Name: name, ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS}}
	s.Endpoints[name] = assignment(name, endpoints...)
	return s.Endpoints[name]
}

func addType(s *xds.Snapshot, name string, kind clusterv3.Cluster_DiscoveryType, endpoints ...*endpointv3.LbEndpoint) {
	s.Clusters[name] = &clusterv3.Cluster{
		Name: name, ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: kind}, LoadAssignment: assignment(name, endpoints...),
	}
}

func pack(t testing.TB, message proto.Message) *anypb.Any {
	t.Helper()
	packed, err := anypb.New(message)
	if err != nil {
		t.Fatal(err)
	}
	return packed
}

// addListener adds a listener with one filter chain.
func addListener(s *xds.Snapshot, bind string, chain *listenerv3.FilterChain) *listenerv3.Listener {
	l := &listenerv3.Listener{Name: bind + "_9080", Address: socket(bind, 9080), FilterChains: []*listenerv3.FilterChain{chain}}
	s.Listeners = append(s.Listeners, l)
	return l
}

func tcpChain(t *testing.T, proxy *tcpv3.TcpProxy) *listenerv3.FilterChain {
	return chainOf(pack(t, proxy))
}

func chainOf(config *anypb.Any) *listenerv3.FilterChain {
	return &listenerv3.FilterChain{Filters: []*listenerv3.Filter{{ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: config}}}}
}

func tcpTo(name string) *tcpv3.TcpProxy {
	return &tcpv3.TcpProxy{ClusterSpecifier: &tcpv3.TcpProxy_Cluster{Cluster: name}}
}

// addHTTP adds a listener whose requests for a domain go to the routes.
func addHTTP(t *testing.T, s *xds.Snapshot, domain string, routes ...*routev3.Route) *routev3.RouteConfiguration {
	addListener(s, "0.0.0.0", chainOf(pack(t, &hcmv3.HttpConnectionManager{
		RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{RouteConfigName: "9080"}},
	})))
	s.Routes["9080"] = &routev3.RouteConfiguration{
		Name:         "9080",
		VirtualHosts: []*routev3.VirtualHost{{Name: "host", Domains: []string{domain, domain + ":9080"}, Routes: routes}},
	}
	return s.Routes["9080"]
}

func routeTo(name string) *routev3.Route {
	return route(&routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: name}})
}

func route(action *routev3.RouteAction) *routev3.Route {
	return &routev3.Route{Name: "default", Action: &routev3.Route_Route{Route: action}}
}

func weighted(weights map[string]uint32) *routev3.Route {
	list := &routev3.WeightedCluster{}
	for name, weight := range weights {
		list.Clusters = append(list.Clusters, &routev3.WeightedCluster_ClusterWeight{Name: name, Weight: wrapperspb.UInt32(weight)})
	}
	return route(&routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_WeightedClusters{WeightedClusters: list}})
}

func grpcLog(t *testing.T, name string) *accesslogv3.AccessLog {
	return &accesslogv3.AccessLog{ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: pack(t, &grpclogv3.HttpGrpcAccessLogConfig{
		CommonConfig: &grpclogv3.CommonGrpcAccessLogConfig{GrpcService: &corev3.GrpcService{
			TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: name}},
		}},
	})}}
}

func ranges(t *testing.T, of map[string]string) xds.Addresses {
	t.Helper()
	addresses := xds.Addresses{}
	for prefix, cluster := range of {
		addresses[netip.MustParsePrefix(prefix)] = cluster
	}
	return addresses
}
