package xds_test

import (
	"fmt"
	"net/netip"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/xds"
)

// many returns what istiod gives a client of n fenced Services, each with a port for HTTP and one for TCP.
func many(b *testing.B, n int, kind xds.Kind) (*xds.Snapshot, []xds.Host) {
	b.Helper()
	s := &xds.Snapshot{
		Proxy:     xds.Proxy{Cluster: "m1c1", Kind: kind, Namespace: "default", DNSCapture: true},
		Routes:    map[string]*routev3.RouteConfiguration{"9080": {Name: "9080", IgnorePortInHostMatching: true}},
		Clusters:  map[string]*clusterv3.Cluster{},
		Endpoints: map[string]*endpointv3.ClusterLoadAssignment{},
		Names:     map[string][]string{},
	}
	addType(s, passthrough, clusterv3.Cluster_ORIGINAL_DST)
	addresses := netip.MustParseAddr("10.101.0.1")
	chainTo := func(cluster string) *listenerv3.FilterChain { return chainOf(pack(b, tcpTo(cluster))) }
	var hosts []xds.Host
	sni := &listenerv3.Listener{Name: "sni", Address: socket("0.0.0.0", 15443), ListenerFilters: inspectors()}
	for i := range n {
		fqdn := fmt.Sprintf("s%d.ns%d.svc.cluster.local", i, i%50)
		http, tcp := "outbound|9080||"+fqdn, "outbound|9090||"+fqdn
		addEDS(s, http, endpoint("10.1.0.8", "m1c1"))
		addEDS(s, tcp, endpoint("10.1.0.8", "m1c1"))
		s.Names[fqdn] = []string{addresses.String()}
		listener := addListener(s, addresses.String(), chainTo(tcp))
		listener.Address = socket(addresses.String(), 9090)
		s.Routes["9080"].VirtualHosts = append(s.Routes["9080"].VirtualHosts, &routev3.VirtualHost{
			Name: fqdn, Domains: []string{fqdn, fqdn[:len(fqdn)-len(".svc.cluster.local")], addresses.String()}, Routes: []*routev3.Route{routeTo(http)},
		})
		chain := chainTo(http)
		chain.FilterChainMatch = &listenerv3.FilterChainMatch{ServerNames: []string{"outbound_.9080_._." + fqdn}}
		sni.FilterChains = append(sni.FilterChains, chain)
		hosts = append(hosts, xds.Host{FQDN: fqdn, Fence: policy.Strict})
		addresses = addresses.Next()
	}
	if kind == xds.Gateway {
		s.Listeners, s.Names = []*listenerv3.Listener{sni}, nil
	}
	addListener(s, "0.0.0.0", chainOf(pack(b, &hcmv3.HttpConnectionManager{
		RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{RouteConfigName: "9080"}},
	})))
	virtual := addListener(s, "0.0.0.0", chainTo(passthrough))
	virtual.Address, virtual.UseOriginalDst = socket("0.0.0.0", 15001), wrapperspb.Bool(kind == xds.Sidecar)
	return s, hosts
}

// BenchmarkVerify shows that the time for a host does not grow with the number of hosts.
func BenchmarkVerify(b *testing.B) {
	for _, kind := range []xds.Kind{xds.Sidecar, xds.Gateway} {
		for _, n := range []int{100, 1000, 5000} {
			b.Run(fmt.Sprintf("%s/%d", kind, n), func(b *testing.B) {
				s, hosts := many(b, n, kind)
				b.ReportAllocs()
				for b.Loop() {
					for _, report := range xds.Verify(s, hosts, xds.Rules{}) {
						if report.Result != xds.Held || report.Probes == 0 {
							b.Fatalf("want held, got %+v", report)
						}
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/host")
			})
		}
	}
}
