package xds_test

import (
	"net/netip"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"github.com/google/go-cmp/cmp"
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
	addEDS(s, other, endpoint("10.1.0.8", "m1c1"), endpoint("10.2.0.8", "m1c2"), endpoint("10.3.0.8", "m1c1"))
	virtual := addListener(s, "0.0.0.0", tcpChain(t, tcpTo("PassthroughCluster")))
	virtual.Address, virtual.UseOriginalDst = socket("0.0.0.0", 15001), wrapperspb.Bool(true)
	rules := xds.Rules{
		Services:  map[netip.Addr]bool{netip.MustParseAddr(address): true},
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
		"192.0.2.9": {xds.Unclear, xds.Unknown},
	} {
		got := s.Resolve(xds.Probe{Address: to(dialled + ":9090")}, rules)
		if len(got) != 1 || got[0].Verdict != want.verdict || got[0].Endpoints[0].Cluster != want.cluster {
			t.Errorf("%s: want %v, got %+v", dialled, want, got)
		}
	}
}
