package traffic_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	httpinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/http_inspector/v3"
	proxyprotocolv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/proxy_protocol/v3"
	tlsinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/meshfence/meshfence/test/testbed"
	"github.com/meshfence/meshfence/xds"
)

// generator makes things up.
type generator struct {
	t      *testing.T
	random *rand.Rand
}

func (g *generator) chance(percent int) bool { return g.random.IntN(100) < percent }

func pick[T any](g *generator, from ...T) T { return from[g.random.IntN(len(from))] }

// some returns up to n of them, in order.
func (g *generator) some(n int, from ...string) []string {
	chosen := map[string]bool{}
	for range g.random.IntN(n + 1) {
		chosen[pick(g, from...)] = true
	}
	return slices.DeleteFunc(slices.Clone(from), func(s string) bool { return !chosen[s] })
}

func (g *generator) pack(message proto.Message) *anypb.Any {
	packed, err := anypb.New(message)
	if err != nil {
		g.t.Fatal(err)
	}
	return packed
}

func (g *generator) snapshot() *xds.Snapshot {
	s := &xds.Snapshot{Proxy: xds.Proxy{Kind: xds.Sidecar}, Clusters: map[string]*clusterv3.Cluster{
		"dialled": {
			Name: "dialled", ConnectTimeout: durationpb.New(1e9), LbPolicy: clusterv3.Cluster_CLUSTER_PROVIDED,
			ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_ORIGINAL_DST},
		},
	}}
	for i := range manyPlaces {
		name := fmt.Sprint("place-", i)
		s.Clusters[name] = &clusterv3.Cluster{
			Name: name, ConnectTimeout: durationpb.New(1e9), ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
			LoadAssignment: &endpointv3.ClusterLoadAssignment{ClusterName: name, Endpoints: []*endpointv3.LocalityLbEndpoints{{
				LbEndpoints: []*endpointv3.LbEndpoint{{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{
					Endpoint: &endpointv3.Endpoint{Address: socketOf(fmt.Sprint(placeNet, i+1), firstPort)},
				}}},
			}}},
		}
	}
	virtual := g.listener("virtual", testbed.StaticAddress, 15001-firstPort)
	virtual.UseOriginalDst, virtual.BindToPort = wrapperspb.Bool(true), nil
	virtual.ListenerFilters = slices.Insert(virtual.ListenerFilters, 0, &listenerv3.ListenerFilter{
		Name:       "envoy.filters.listener.proxy_protocol",
		ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: g.pack(&proxyprotocolv3.ProxyProtocol{})},
	})
	s.Listeners = append(s.Listeners, virtual)
	for port := range matchPorts {
		if g.chance(50) {
			s.Listeners = append(s.Listeners, g.listener(fmt.Sprint("exact-", port), dialledNet+"1", port))
		}
		if g.chance(80) {
			s.Listeners = append(s.Listeners, g.listener(fmt.Sprint("any-", port), "0.0.0.0", port))
		}
	}
	return s
}

func socketOf(address string, port int) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: address, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(port)},
	}}}
}

func (g *generator) listener(name, address string, port int) *listenerv3.Listener {
	l := &listenerv3.Listener{Name: name, Address: socketOf(address, firstPort+port), BindToPort: wrapperspb.Bool(false)}
	for filter, config := range map[string]proto.Message{
		"envoy.filters.listener.tls_inspector":  &tlsinspectorv3.TlsInspector{},
		"envoy.filters.listener.http_inspector": &httpinspectorv3.HttpInspector{},
	} {
		if g.chance(85) {
			l.ListenerFilters = append(l.ListenerFilters, &listenerv3.ListenerFilter{
				Name: filter, ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: g.pack(config)},
			})
		}
	}
	// A map has no order, and seeds shall repeat.
	slices.SortFunc(l.ListenerFilters, func(a, b *listenerv3.ListenerFilter) int { return strings.Compare(b.GetName(), a.GetName()) })
	taken := map[string]bool{}
	for range 1 + g.random.IntN(6) {
		match := g.match(port)
		if !take(taken, match) {
			continue
		}
		chain := g.chain(port)
		chain.Name, chain.FilterChainMatch = fmt.Sprintf("%s-%d", name, len(l.FilterChains)), match
		l.FilterChains = append(l.FilterChains, chain)
	}
	if g.chance(80) {
		l.DefaultFilterChain = g.chain(port)
		l.DefaultFilterChain.Name = name + "-default"
	}
	return l
}

// take notes all that a match takes; Envoy refuses two chains for the same.
func take(taken map[string]bool, match *listenerv3.FilterChainMatch) bool {
	or := func(values []string) []string {
		if len(values) == 0 {
			return []string{""}
		}
		return values
	}
	var prefixes []string
	for _, prefix := range match.GetPrefixRanges() {
		prefixes = append(prefixes, prefix.String())
	}
	var all []string
	for _, prefix := range or(prefixes) {
		for _, name := range or(match.GetServerNames()) {
			for _, protocol := range or(match.GetApplicationProtocols()) {
				all = append(all, fmt.Sprint(match.GetDestinationPort(), prefix, name, match.GetTransportProtocol(), protocol))
			}
		}
	}
	if slices.ContainsFunc(all, func(key string) bool { return taken[key] }) {
		return false
	}
	for _, key := range all {
		taken[key] = true
	}
	return true
}

func (g *generator) match(port int) *listenerv3.FilterChainMatch {
	match := &listenerv3.FilterChainMatch{
		ServerNames:          g.some(2, "a.example.com", "*.example.com", "*.com", "b.example.com"),
		ApplicationProtocols: g.some(1, "http/1.1", "h2c", "h2"),
		TransportProtocol:    pick(g, "", "", "tls", "raw_buffer"),
	}
	if g.chance(50) {
		match.ServerNames = nil
	}
	if g.chance(20) {
		match.DestinationPort = wrapperspb.UInt32(uint32(firstPort + pick(g, port, port, port+1)))
	}
	for _, prefix := range g.some(1, dialledNet+"1/32", dialledNet+"0/31", dialledNet+"0/24", "127.0.0.0/8") {
		parsed := netip.MustParsePrefix(prefix)
		match.PrefixRanges = append(match.PrefixRanges, &corev3.CidrRange{
			AddressPrefix: parsed.Addr().String(), PrefixLen: wrapperspb.UInt32(uint32(parsed.Bits())),
		})
	}
	return match
}

func (g *generator) place() string {
	if g.chance(15) {
		return "dialled"
	}
	return fmt.Sprint("place-", g.random.IntN(manyPlaces))
}

func (g *generator) chain(port int) *listenerv3.FilterChain {
	if g.chance(50) {
		return g.filters("envoy.filters.network.tcp_proxy", &tcpv3.TcpProxy{
			StatPrefix: "tcp", ClusterSpecifier: &tcpv3.TcpProxy_Cluster{Cluster: g.place()},
		})
	}
	manager := &hcmv3.HttpConnectionManager{
		StatPrefix: "http", StripTrailingHostDot: g.chance(20), StripMatchingHostPort: g.chance(20),
		RouteSpecifier: &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: g.routes(port)},
		HttpFilters: []*hcmv3.HttpFilter{{
			Name: "envoy.filters.http.router", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: g.pack(&routerv3.Router{})},
		}},
	}
	if !manager.StripMatchingHostPort && g.chance(20) {
		manager.StripPortMode = &hcmv3.HttpConnectionManager_StripAnyHostPort{StripAnyHostPort: true}
	}
	return g.filters("envoy.filters.network.http_connection_manager", manager)
}

func (g *generator) filters(name string, config proto.Message) *listenerv3.FilterChain {
	return &listenerv3.FilterChain{Filters: []*listenerv3.Filter{{
		Name: name, ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: g.pack(config)},
	}}}
}

func (g *generator) routes(port int) *routev3.RouteConfiguration {
	config := &routev3.RouteConfiguration{Name: "routes", IgnorePortInHostMatching: g.chance(40)}
	domains := g.some(7, "a.example.com", "A.EXAMPLE.org", "*.example.com", "*.com", "a.*", "a.example.*",
		"*-x.example.com", "a.example.com.", fmt.Sprint("b.example.com:", firstPort+port), "b.example.com", dialledNet+"1", "*.77.1")
	if g.chance(60) {
		domains = append(domains, "*")
	}
	for _, domain := range domains {
		route := &routev3.Route{Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}}}
		if g.chance(90) {
			route.Action = &routev3.Route_Route{Route: &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: g.place()}}}
		} else {
			route.Action = &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 403}}
		}
		config.VirtualHosts = append(config.VirtualHosts, &routev3.VirtualHost{Name: domain, Domains: []string{domain}, Routes: []*routev3.Route{route}})
	}
	return config
}

// probe makes a connection up that is meant for a port.
func (g *generator) probe(port int) xds.Probe {
	address := netip.MustParseAddrPort(fmt.Sprint(dialledNet, 1+g.random.IntN(4), ":", firstPort+port))
	probe := xds.Probe{Address: address, Protocol: pick(g, xds.TCP, xds.HTTP, xds.HTTP, xds.HTTP2, xds.TLS)}
	name := pick(g, "a.example.com", "b.example.com", "A.Example.com", "c.example.com", "a.example.org", "d.com", "a.b.com", "a-x.example.com",
		"a.net", "nobody.net", dialledNet+"1")
	switch probe.Protocol {
	case xds.TLS:
		probe.SNI, probe.ALPN = pick(g, name, ""), pick(g, nil, []string{"h2"}, []string{"http/1.1", "h2"})
		if _, err := netip.ParseAddr(name); err == nil {
			probe.SNI = "" // a ClientHello names no address
		}
	case xds.HTTP, xds.HTTP2:
		probe.Host = pick(g, name, name, fmt.Sprint(name, ":", firstPort+port), fmt.Sprint(name, ":", 1), name+".", fmt.Sprint(name, ".:", firstPort+port))
	}
	return probe
}
