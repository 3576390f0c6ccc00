package xds_test

import (
	"net/netip"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	aggregatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/aggregate/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/meshfence/meshfence/xds"
)

// tagged is a chain whose connections end at a missing cluster of its own name, so that the name tells which was taken.
func tagged(t *testing.T, name string, match *listenerv3.FilterChainMatch) *listenerv3.FilterChain {
	chain := tcpChain(t, tcpTo(name))
	chain.Name, chain.FilterChainMatch = name, match
	return chain
}

func prefixOf(address string, bits uint32) *corev3.CidrRange {
	return &corev3.CidrRange{AddressPrefix: address, PrefixLen: wrapperspb.UInt32(bits)}
}

func to(address string) netip.AddrPort { return netip.MustParseAddrPort(address) }

// ends returns the cluster or else the reason of every outcome.
func ends(outcomes []xds.Outcome) []string {
	var ends []string
	for _, o := range outcomes {
		if o.Cluster != "" {
			ends = append(ends, o.Cluster)
			continue
		}
		ends = append(ends, o.Reason)
	}
	return ends
}

// Which listener takes a connection: that of the very address, that of the port, the one that redirected it.
func TestResolvePicksTheListener(t *testing.T) {
	t.Parallel()
	s := newSnapshot()
	for name, at := range map[string]*corev3.Address{
		"exact": socket("10.0.0.1", 9080), "port": socket("0.0.0.0", 9080), "port6": socket("::", 9080), "virtual": socket("0.0.0.0", 15001),
	} {
		l := &listenerv3.Listener{Name: name, Address: at, FilterChains: []*listenerv3.FilterChain{tagged(t, name, nil)}}
		if name == "virtual" {
			l.UseOriginalDst = wrapperspb.Bool(true)
		}
		if name == "exact" {
			l.AdditionalAddresses = []*listenerv3.AdditionalAddress{{Address: socket("fd00::1", 9080)}}
		}
		s.Listeners = append(s.Listeners, l)
	}
	compat := socket("::", 9090)
	compat.GetSocketAddress().Ipv4Compat = true
	udp := socket("10.0.0.2", 9080)
	udp.GetSocketAddress().Protocol = corev3.SocketAddress_UDP
	s.Listeners = append(s.Listeners,
		&listenerv3.Listener{Name: "compat", Address: compat, FilterChains: []*listenerv3.FilterChain{tagged(t, "compat", nil)}},
		&listenerv3.Listener{Name: "udp", Address: udp, FilterChains: []*listenerv3.FilterChain{tagged(t, "udp", nil)}},
	)
	for address, want := range map[string]string{
		"10.0.0.1:9080":          "exact",
		"[::ffff:10.0.0.1]:9080": "exact",
		"[fd00::1]:9080":         "exact",
		"10.0.0.2:9080":          "port",
		"[fd00::2]:9080":         "port6",
		"10.0.0.2:9090":          "compat",
		"10.0.0.1:80":            "virtual",
		"[fd00::2]:80":           "virtual",
	} {
		got := s.Resolve(xds.Probe{Address: to(address), Protocol: xds.TCP}, xds.Rules{})
		if diff := cmp.Diff([]string{want}, ends(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", address, diff)
		}
	}
	s.Listeners = s.Listeners[:0]
	want := []xds.Outcome{{Verdict: xds.Nowhere, Reason: "no listener takes the address"}}
	if diff := cmp.Diff(want, s.Resolve(xds.Probe{Address: to("10.0.0.1:80")}, xds.Rules{})); diff != "" {
		t.Errorf("no listener (-want +got):\n%s", diff)
	}
}

// Which filter chain takes a connection. Envoy documents the order, and that it does not go back: once a chain is more
// specific at one level, those that are less so are out, although they alone match below (FilterChainMatch).
func TestResolvePicksTheFilterChain(t *testing.T) {
	t.Parallel()
	type chains map[string]*listenerv3.FilterChainMatch
	tls := func(names ...string) *listenerv3.FilterChainMatch {
		return &listenerv3.FilterChainMatch{ServerNames: names, TransportProtocol: "tls"}
	}
	tests := map[string]struct {
		chains chains
		probe  xds.Probe
		want   string
	}{
		"a chain that asks for nothing": {chains{"any": nil}, xds.Probe{}, "any"},
		"destination port first": {
			chains{"port": {DestinationPort: wrapperspb.UInt32(9080)}, "prefix": {PrefixRanges: []*corev3.CidrRange{prefixOf("10.0.0.1", 32)}}},
			xds.Probe{}, "port",
		},
		"another port": {chains{"port": {DestinationPort: wrapperspb.UInt32(80)}}, xds.Probe{}, "default"},
		"a port's chain does not match below": {
			chains{"port": {DestinationPort: wrapperspb.UInt32(9080), ServerNames: []string{"a.example.com"}}, "any": nil}, xds.Probe{}, "default",
		},
		"longest prefix": {
			chains{
				"8":  {PrefixRanges: []*corev3.CidrRange{prefixOf("10.0.0.0", 8)}},
				"24": {PrefixRanges: []*corev3.CidrRange{prefixOf("192.168.0.0", 16), prefixOf("10.0.0.0", 24)}},
				"0":  {},
			},
			xds.Probe{}, "24",
		},
		"no prefix": {chains{"32": {PrefixRanges: []*corev3.CidrRange{prefixOf("10.0.0.2", 32)}}, "0": {}}, xds.Probe{}, "0"},
		"the longest prefix's chain does not match below": {
			chains{"32": {PrefixRanges: []*corev3.CidrRange{prefixOf("10.0.0.1", 32)}, TransportProtocol: "tls"}, "0": {}}, xds.Probe{}, "default",
		},
		"exact server name": {
			chains{"exact": tls("a.example.com"), "wild": tls("*.example.com"), "any": tls()},
			xds.Probe{Protocol: xds.TLS, SNI: "A.example.com"}, "exact",
		},
		"longest wildcard": {
			chains{"short": tls("*.com"), "long": tls("*.example.com"), "any": tls()}, xds.Probe{Protocol: xds.TLS, SNI: "a.b.example.com"}, "long",
		},
		"a wildcard is not for its own domain": {
			chains{"wild": tls("*.example.com"), "any": tls()}, xds.Probe{Protocol: xds.TLS, SNI: "example.com"}, "any",
		},
		"no server name": {chains{"exact": tls("a.example.com"), "any": tls()}, xds.Probe{Protocol: xds.TLS}, "any"},
		"the server name's chain does not match below": {
			chains{"exact": {ServerNames: []string{"a.example.com"}, ApplicationProtocols: []string{"h2"}}, "any": tls()},
			xds.Probe{Protocol: xds.TLS, SNI: "a.example.com"}, "default",
		},
		"transport protocol": {chains{"tls": tls(), "any": {}}, xds.Probe{Protocol: xds.TLS}, "tls"},
		"plain text":         {chains{"tls": tls(), "raw": {TransportProtocol: "raw_buffer"}, "any": {}}, xds.Probe{Protocol: xds.HTTP}, "raw"},
		"the transport protocol's chain does not match below": {
			chains{"raw": {TransportProtocol: "raw_buffer", ApplicationProtocols: []string{"http/1.1"}}, "any": {}}, xds.Probe{Protocol: xds.TCP}, "default",
		},
		"HTTP/1.1":        {chains{"http": {ApplicationProtocols: []string{"http/1.1"}}, "any": {}}, xds.Probe{Protocol: xds.HTTP}, "http"},
		"HTTP/2":          {chains{"http": {ApplicationProtocols: []string{"h2c"}}, "any": {}}, xds.Probe{Protocol: xds.HTTP2}, "http"},
		"no HTTP":         {chains{"http": {ApplicationProtocols: []string{"http/1.1", "h2c"}}, "any": {}}, xds.Probe{Protocol: xds.TCP}, "any"},
		"ALPN":            {chains{"h2": {ApplicationProtocols: []string{"h2"}}, "any": {}}, xds.Probe{Protocol: xds.TLS, ALPN: []string{"x", "h2"}}, "h2"},
		"HTTP inside TLS": {chains{"http": {ApplicationProtocols: []string{"http/1.1"}}, "any": {}}, xds.Probe{Protocol: xds.TLS}, "any"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSnapshot()
			listener := addListener(s, "0.0.0.0", nil)
			listener.FilterChains = nil
			for chain, match := range test.chains {
				listener.FilterChains = append(listener.FilterChains, tagged(t, chain, match))
			}
			listener.DefaultFilterChain = tagged(t, "default", nil)
			listener.ListenerFilters = inspectors()
			test.probe.Address = to("10.0.0.1:9080")
			got := s.Resolve(test.probe, xds.Rules{})
			if diff := cmp.Diff([]string{test.want}, ends(got)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if test.want != "default" {
				return
			}
			listener.DefaultFilterChain = nil
			if got := ends(s.Resolve(test.probe, xds.Rules{})); got[0] != "no filter chain takes the connection" {
				t.Errorf("no default chain: got %v", got)
			}
		})
	}
}

func inspectors() []*listenerv3.ListenerFilter {
	return []*listenerv3.ListenerFilter{{Name: "envoy.filters.listener.tls_inspector"}, {Name: "envoy.filters.listener.http_inspector"}}
}

// Without inspectors a listener sees bytes; with a condition it sees more on some ports alone.
func TestResolveLooksIntoConnections(t *testing.T) {
	t.Parallel()
	s := newSnapshot()
	listener := addListener(s, "0.0.0.0", nil)
	listener.FilterChains = []*listenerv3.FilterChain{
		tagged(t, "tls", &listenerv3.FilterChainMatch{TransportProtocol: "tls"}),
		tagged(t, "bytes", &listenerv3.FilterChainMatch{TransportProtocol: "raw_buffer"}),
	}
	probe := xds.Probe{Address: to("10.0.0.1:9080"), Protocol: xds.TLS}
	if got := ends(s.Resolve(probe, xds.Rules{})); got[0] != "bytes" {
		t.Errorf("no inspector: want bytes, got %v", got)
	}
	listener.ListenerFilters = inspectors()
	if got := ends(s.Resolve(probe, xds.Rules{})); got[0] != "tls" {
		t.Errorf("inspectors: want tls, got %v", got)
	}
	on := func(port int32) *listenerv3.ListenerFilterChainMatchPredicate {
		return &listenerv3.ListenerFilterChainMatchPredicate{Rule: &listenerv3.ListenerFilterChainMatchPredicate_DestinationPortRange{
			DestinationPortRange: portRange(port),
		}}
	}
	listener.ListenerFilters[0].FilterDisabled = on(9080)
	if got := ends(s.Resolve(probe, xds.Rules{})); got[0] != "bytes" {
		t.Errorf("no inspector on this port: want bytes, got %v", got)
	}
	listener.ListenerFilters[0].FilterDisabled = on(80)
	if got := ends(s.Resolve(probe, xds.Rules{})); got[0] != "tls" {
		t.Errorf("no inspector on another port: want tls, got %v", got)
	}
}

// What a dialled address comes to that no Service of istiod's takes.
func TestResolveOriginalDestination(t *testing.T) {
	t.Parallel()
	s := newSnapshot()
	addType(s, "PassthroughCluster", clusterv3.Cluster_ORIGINAL_DST)
	addEDS(s, other, endpoint("10.1.0.8", "m1c1"), endpoint("10.2.0.8", "m1c2"), endpoint("10.3.0.8", "m1c1"), endpoint("10.5.0.8", "m1c2"))
	virtual := addListener(s, "0.0.0.0", tcpChain(t, tcpTo("PassthroughCluster")))
	virtual.Address, virtual.UseOriginalDst = socket("0.0.0.0", 15001), wrapperspb.Bool(true)
	rules := xds.Rules{
		Services:  map[netip.Addr]bool{netip.MustParseAddr(address): true, netip.MustParseAddr("10.5.0.8"): true},
		Addresses: ranges(t, map[string]string{"10.3.0.0/16": "m1c3", "10.4.0.0/16": "m1c1"}),
	}
	for dialled, want := range map[string]struct {
		verdict xds.Verdict
		cluster string
	}{
		address:     {xds.Stays, "m1c1"},
		"10.1.0.8":  {xds.Stays, "m1c1"},
		"10.2.0.8":  {xds.Leaves, "m1c2"},
		"10.3.0.8":  {xds.Leaves, "m1c3"},
		"10.4.0.8":  {xds.Stays, "m1c1"},
		"10.5.0.8":  {xds.Stays, "m1c1"},
		"192.0.2.9": {xds.Unclear, xds.Unknown},
	} {
		got := s.Resolve(xds.Probe{Address: to(dialled + ":9090")}, rules)
		if len(got) != 1 || got[0].Verdict != want.verdict || got[0].Endpoints[0].Cluster != want.cluster {
			t.Errorf("%s: want %v, got %+v", dialled, want, got)
		}
	}
}

// A connection that nothing can be said about, or that ends before a cluster.
func TestResolveSaysWhatIsUnclear(t *testing.T) {
	t.Parallel()
	custom := func(s *xds.Snapshot, name string, config *anypb.Any) {
		s.Clusters[name] = &clusterv3.Cluster{Name: name, ClusterDiscoveryType: &clusterv3.Cluster_ClusterType{
			ClusterType: &clusterv3.Cluster_CustomClusterType{Name: "envoy.clusters." + name, TypedConfig: config},
		}}
	}
	tunnel := tcpTo(base)
	tunnel.TunnelingConfig = &tcpv3.TcpProxy_TunnelingConfig{Hostname: "a:1"}
	broken := pack(t, tcpTo(base))
	broken.Value = []byte("?")
	tests := map[string]struct {
		chain *listenerv3.FilterChain
		want  []xds.Outcome
	}{
		"a missing cluster": {tcpChain(t, tcpTo("absent")), []xds.Outcome{{Verdict: xds.Nowhere, Reason: "cluster absent does not exist"}}},
		"an empty cluster":  {tcpChain(t, tcpTo("empty")), []xds.Outcome{{Verdict: xds.Nowhere, Reason: "cluster empty has no endpoint"}}},
		"a cluster of its own": {tcpChain(t, tcpTo("dynamic")), []xds.Outcome{{
			Verdict: xds.Unclear, Reason: "the cluster is of type envoy.clusters.dynamic, which finds its endpoints itself",
		}}},
		"clusters for one": {tcpChain(t, tcpTo("aggregate")), []xds.Outcome{
			{Verdict: xds.Stays}, {Verdict: xds.Nowhere, Reason: "cluster empty has no endpoint"},
		}},
		"clusters in a circle": {tcpChain(t, tcpTo("circle")), []xds.Outcome{{
			Verdict: xds.Unclear, Reason: "the cluster is of type envoy.clusters.circle, which finds its endpoints itself",
		}}},
		"weights": {tcpChain(t, &tcpv3.TcpProxy{ClusterSpecifier: &tcpv3.TcpProxy_WeightedClusters{
			WeightedClusters: &tcpv3.TcpProxy_WeightedCluster{Clusters: []*tcpv3.TcpProxy_WeightedCluster_ClusterWeight{{Name: base}, {Name: "empty"}}},
		}}), []xds.Outcome{{Verdict: xds.Stays}, {Verdict: xds.Nowhere, Reason: "cluster empty has no endpoint"}}},
		"a tunnel": {tcpChain(t, tunnel), []xds.Outcome{{Verdict: xds.Unclear, Reason: "a tunnel: what is behind its other end is out of sight"}}},
		"a name":   {tcpChain(t, tcpTo("named")), []xds.Outcome{{Verdict: xds.Unclear, Reason: "endpoints whose cluster is unknown"}}},
		"another filter": {chainOf(pack(t, &aggregatev3.ClusterConfig{})), []xds.Outcome{{
			Verdict: xds.Unclear, Reason: "the connection ends at filter type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig",
		}}},
		"a broken filter": {chainOf(broken), []xds.Outcome{{Verdict: xds.Unclear}}},
		"no filter": {&listenerv3.FilterChain{}, []xds.Outcome{{
			Verdict: xds.Nowhere, Reason: "the filter chain has no filter that sends anything on",
		}}},
		"no routes": {chainOf(pack(t, &hcmv3.HttpConnectionManager{})), []xds.Outcome{{Verdict: xds.Nowhere, Reason: "there are no routes"}}},
		"missing routes": {chainOf(pack(t, &hcmv3.HttpConnectionManager{
			RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{RouteConfigName: "absent"}},
		})), []xds.Outcome{{Verdict: xds.Nowhere, Reason: "route configuration absent does not exist"}}},
		"scoped routes": {chainOf(pack(t, &hcmv3.HttpConnectionManager{
			RouteSpecifier: &hcmv3.HttpConnectionManager_ScopedRoutes{},
		})), []xds.Outcome{{Verdict: xds.Unclear, Reason: "scoped routes are not followed"}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSnapshot()
			addEDS(s, base, endpoint("10.1.0.8", "m1c1"))
			addEDS(s, "empty")
			addEDS(s, "named", endpoint("a.example.com", "m1c1"))
			custom(s, "dynamic", nil)
			custom(s, "aggregate", pack(t, &aggregatev3.ClusterConfig{Clusters: []string{base, "empty"}}))
			custom(s, "circle", pack(t, &aggregatev3.ClusterConfig{Clusters: []string{"circle"}}))
			addListener(s, "0.0.0.0", test.chain)
			got := s.Resolve(xds.Probe{Address: to("10.0.0.1:9080"), Protocol: xds.HTTP, Host: "a"}, xds.Rules{})
			for i := range got {
				got[i].Path, got[i].Endpoints, got[i].Open = xds.Path{}, nil, ""
				if name == "a broken filter" {
					got[i].Reason = ""
				}
				got[i].AnyName = false
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// A tree of matchers chooses among filter chains, or among routes: any of them may be meant.
func TestResolveTreesOfMatchers(t *testing.T) {
	t.Parallel()
	s := newSnapshot()
	listener := addListener(s, "0.0.0.0", tagged(t, "one", nil))
	listener.FilterChains = append(listener.FilterChains, tagged(t, "two", nil))
	setMatcher(listener, "filter_chain_matcher")
	if diff := cmp.Diff([]string{"one", "two"}, ends(s.Resolve(xds.Probe{Address: to("10.0.0.1:9080")}, xds.Rules{}))); diff != "" {
		t.Errorf("filter chains (-want +got):\n%s", diff)
	}
	s = newSnapshot()
	setMatcher(addHTTP(t, s, reviews).VirtualHosts[0], "matcher")
	got := s.Resolve(xds.Probe{Address: to("10.0.0.1:9080"), Protocol: xds.HTTP, Host: reviews}, xds.Rules{})
	if len(got) != 1 || got[0].Verdict != xds.Unclear {
		t.Errorf("routes: want one unclear outcome, got %+v", got)
	}
}

// setMatcher sets a field to an empty tree, whose type is of a module that nothing else here needs.
func setMatcher(message proto.Message, field protoreflect.Name) {
	reflected := message.ProtoReflect()
	reflected.Mutable(reflected.Descriptor().Fields().ByName(field))
}

// The conditions under which a listener does not look into a connection.
func TestResolveInspectorConditions(t *testing.T) {
	t.Parallel()
	type rule = listenerv3.ListenerFilterChainMatchPredicate
	yes := &rule{Rule: &listenerv3.ListenerFilterChainMatchPredicate_AnyMatch{AnyMatch: true}}
	set := func(rules ...*rule) *listenerv3.ListenerFilterChainMatchPredicate_MatchSet {
		return &listenerv3.ListenerFilterChainMatchPredicate_MatchSet{Rules: rules}
	}
	no := &rule{Rule: &listenerv3.ListenerFilterChainMatchPredicate_NotMatch{NotMatch: yes}}
	for name, test := range map[string]struct {
		disabled *rule
		want     string
	}{
		"always":     {yes, "bytes"},
		"never":      {no, "tls"},
		"one of two": {&rule{Rule: &listenerv3.ListenerFilterChainMatchPredicate_OrMatch{OrMatch: set(no, yes)}}, "bytes"},
		"none of":    {&rule{Rule: &listenerv3.ListenerFilterChainMatchPredicate_OrMatch{OrMatch: set(no, no)}}, "tls"},
		"both":       {&rule{Rule: &listenerv3.ListenerFilterChainMatchPredicate_AndMatch{AndMatch: set(yes, yes)}}, "bytes"},
		"not both":   {&rule{Rule: &listenerv3.ListenerFilterChainMatchPredicate_AndMatch{AndMatch: set(no, yes)}}, "tls"},
		"empty":      {&rule{}, "tls"},
	} {
		s := newSnapshot()
		listener := addListener(s, "0.0.0.0", tagged(t, "tls", &listenerv3.FilterChainMatch{TransportProtocol: "tls"}))
		listener.DefaultFilterChain = tagged(t, "bytes", nil)
		listener.ListenerFilters = inspectors()
		listener.ListenerFilters[0].FilterDisabled = test.disabled
		if got := ends(s.Resolve(xds.Probe{Address: to("10.0.0.1:9080"), Protocol: xds.TLS}, xds.Rules{})); got[0] != test.want {
			t.Errorf("%s: want %s, got %v", name, test.want, got)
		}
	}
}

// What the listener that iptables redirects to has seen counts for the one that takes the connection over.
func TestResolveLooksOnTheWay(t *testing.T) {
	t.Parallel()
	s := newSnapshot()
	listener := addListener(s, "0.0.0.0", tagged(t, "raw", &listenerv3.FilterChainMatch{TransportProtocol: "raw_buffer"}))
	listener.DefaultFilterChain = tagged(t, "default", nil)
	virtual := addListener(s, "0.0.0.0", tagged(t, "virtual", nil))
	virtual.Address, virtual.UseOriginalDst = socket("0.0.0.0", 15001), wrapperspb.Bool(true)
	probe := xds.Probe{Address: to("10.0.0.1:9080"), Protocol: xds.TLS}
	if got := ends(s.Resolve(probe, xds.Rules{})); got[0] != "raw" {
		t.Errorf("nobody looks: want raw, got %v", got)
	}
	virtual.ListenerFilters = inspectors()
	if got := ends(s.Resolve(probe, xds.Rules{})); got[0] != "default" {
		t.Errorf("the first listener looks: want default, got %v", got)
	}
}
