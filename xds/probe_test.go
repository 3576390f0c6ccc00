package xds_test

import (
	"net/netip"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/xds"
)

const passthrough = "PassthroughCluster"

// newMesh returns what istiod gives a sidecar for reviews with port 9080 for HTTP and 9090 for TCP, and for a Service
// whose endpoints are in both clusters.
func newMesh(t *testing.T) *xds.Snapshot {
	s := newSnapshot()
	addEDS(s, base, endpoint("10.1.0.8", "m1c1"))
	addEDS(s, tcpBase, endpoint("10.1.0.8", "m1c1"))
	addEDS(s, other, endpoint("10.1.0.9", "m1c1"), endpoint("10.2.0.9", "m1c2"))
	addType(s, passthrough, clusterv3.Cluster_ORIGINAL_DST)
	addHTTP(t, s, reviews, routeTo(base))
	s.Routes["9080"].IgnorePortInHostMatching = true
	s.Routes["9080"].VirtualHosts[0].Domains = []string{reviews, "reviews", "reviews.default", "reviews.default.svc", reviews + ".", address}
	s.Routes["9080"].VirtualHosts = append(s.Routes["9080"].VirtualHosts, &routev3.VirtualHost{
		Name: "allow_any", Domains: []string{"*"}, Routes: []*routev3.Route{routeTo(passthrough)},
	})
	s.Listeners[0].ListenerFilters = inspectors()
	s.Listeners[0].FilterChains[0].FilterChainMatch = &listenerv3.FilterChainMatch{
		TransportProtocol: "raw_buffer", ApplicationProtocols: []string{"http/1.1", "h2c"},
	}
	s.Listeners[0].DefaultFilterChain = tcpChain(t, tcpTo(passthrough))
	tcp := addListener(s, address, tcpChain(t, tcpTo(tcpBase)))
	tcp.Name, tcp.Address = address+"_9090", socket(address, 9090)
	virtual := addListener(s, "0.0.0.0", tcpChain(t, tcpTo(passthrough)))
	virtual.Name, virtual.Address, virtual.UseOriginalDst = "virtualOutbound", socket("0.0.0.0", 15001), wrapperspb.Bool(true)
	return s
}

const tcpBase = "outbound|9090||" + reviews

// hide takes away what istiod gives for reviews, as where a Sidecar does not import it.
func hide(s *xds.Snapshot) {
	delete(s.Clusters, base)
	delete(s.Clusters, tcpBase)
	delete(s.Names, reviews)
	s.Routes["9080"].VirtualHosts = s.Routes["9080"].VirtualHosts[1:]
	s.Listeners = append(s.Listeners[:1], s.Listeners[2:]...)
}

// known is reviews with what the API server says of it.
func known() []xds.Host {
	return []xds.Host{{FQDN: reviews, Fence: policy.Strict, Addresses: []netip.Addr{netip.MustParseAddr(address)}, Ports: []uint16{9080, 9090}}}
}

// What takes the packets that are meant for a host, or the requests by another of its names (rows I5 to I11, C14, D12,
// D13 and D15). Each leaves by a path that no walk over the host's name finds.
func TestVerifyFollowsConnections(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		build func(*testing.T, *xds.Snapshot)
		// probe is that of a leak, empty where nothing leaks.
		probe string
	}{
		"an ordinary mesh":                {func(*testing.T, *xds.Snapshot) {}, ""},
		"the host is hidden, and no more": {func(_ *testing.T, s *xds.Snapshot) { hide(s) }, ""},
		"an egress proxy takes what is unknown": {func(t *testing.T, s *xds.Snapshot) {
			hide(s)
			s.Listeners[1].FilterChains = []*listenerv3.FilterChain{tcpChain(t, tcpTo(other))}
		}, "tcp 10.101.0.7:9090"},
		"an egress proxy takes unknown hosts": {func(_ *testing.T, s *xds.Snapshot) {
			hide(s)
			s.Routes["9080"].VirtualHosts[0].Routes = []*routev3.Route{routeTo(other)}
		}, "http 10.101.0.7:9080 Host " + reviews},
		"an egress proxy takes what is not HTTP": {func(t *testing.T, s *xds.Snapshot) {
			s.Listeners[0].DefaultFilterChain = tcpChain(t, tcpTo(other))
		}, "tcp 10.101.0.7:9080"},
		"a listener on the port of a hidden host": {func(t *testing.T, s *xds.Snapshot) {
			hide(s)
			l := addListener(s, "0.0.0.0", tcpChain(t, tcpTo(other)))
			l.Address = socket("0.0.0.0", 9090)
		}, "tcp 10.101.0.7:9090"},
		"a listener on the port of a visible host": {func(t *testing.T, s *xds.Snapshot) {
			l := addListener(s, "0.0.0.0", tcpChain(t, tcpTo(other)))
			l.Address = socket("0.0.0.0", 9090)
		}, ""},
		"a short wildcard, the host is hidden": {func(_ *testing.T, s *xds.Snapshot) {
			hide(s)
			addVirtualHost(s, "*.default", other)
		}, "http 10.101.0.7:9080 Host reviews.default"},
		"a short wildcard":       {func(_ *testing.T, s *xds.Snapshot) { addVirtualHost(s, "*.default", other) }, ""},
		"the address as a name":  {func(_ *testing.T, s *xds.Snapshot) { addVirtualHost(s, "10.101.0.7", other) }, "http 10.101.0.7:9080 Host 10.101.0.7:9080"},
		"another name's address": {func(_ *testing.T, s *xds.Snapshot) { addVirtualHost(s, "10.101.0.8", other) }, ""},
		"a name that is searched for first": {func(t *testing.T, s *xds.Snapshot) {
			s.Names[reviews+".default.svc.cluster.local"] = []string{"240.240.0.1"}
			l := addListener(s, "240.240.0.1", tcpChain(t, tcpTo(other)))
			l.Address = socket("240.240.0.1", 9090)
		}, "tcp 240.240.0.1:9090, which DNS answers " + reviews + " with"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newMesh(t)
			s.NamedServices = map[string]hostname.Host{reviews: {Namespace: "default", Name: "reviews"}}
			test.build(t, s)
			report := verify(t, s, known(), xds.Rules{})
			if test.probe == "" {
				if report.Result != xds.Held || report.Probes == 0 {
					t.Errorf("want held, got %+v", report)
				}
				return
			}
			var probes []string
			for _, leak := range report.Leaks {
				probes = append(probes, leak.Probe)
			}
			if report.Result != xds.Leaks || !strings.Contains("\n"+strings.Join(probes, "\n")+"\n", "\n"+test.probe+"\n") {
				t.Errorf("want a leak by %q, got %+v", test.probe, report)
			}
		})
	}
}

// addVirtualHost adds one whose requests go to a cluster, after taking the domain from the others.
func addVirtualHost(s *xds.Snapshot, domain, cluster string) {
	for _, host := range s.Routes["9080"].VirtualHosts {
		for i, of := range host.Domains {
			if of == domain {
				host.Domains = append(host.Domains[:i], host.Domains[i+1:]...)
				break
			}
		}
	}
	s.Routes["9080"].VirtualHosts = append(s.Routes["9080"].VirtualHosts, &routev3.VirtualHost{
		Name: domain, Domains: []string{domain}, Routes: []*routev3.Route{routeTo(cluster)},
	})
}

// pods is reviews, headless, with one Pod.
func pods(address string) []xds.Host {
	return []xds.Host{{FQDN: reviews, Fence: policy.Strict, Pods: []netip.Addr{netip.MustParseAddr(address)}, Ports: []uint16{9090}}}
}

// A host that istiod does not tell the client of is not empty: its packets go somewhere.
func TestVerifySaysWhereUnknownHostsGo(t *testing.T) {
	t.Parallel()
	s := newMesh(t)
	hide(s)
	tests := map[string]struct {
		hosts  []xds.Host
		result xds.Result
		note   string
	}{
		"passed through":    {known(), xds.Held, "ends at PassthroughCluster (stays)"},
		"nobody knows it":   {strict(), xds.Empty, "nothing was asked"},
		"its ports are not": {[]xds.Host{{FQDN: reviews, Fence: policy.Strict, Addresses: known()[0].Addresses}}, xds.Empty, "nothing was asked"},
		"a Pod elsewhere":   {pods("10.2.0.9"), xds.Leaks, "ends at PassthroughCluster (leaves)"},
		"a Pod of nobody":   {pods("10.3.0.9"), xds.Leaks, "ends at PassthroughCluster (unclear)"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			report := verify(t, s, test.hosts, xds.Rules{})
			if report.Known || report.Result != test.result || !strings.Contains(strings.Join(report.Notes, "\n"), test.note) {
				t.Errorf("want %s and a note with %q, got %+v", test.result, test.note, report)
			}
		})
	}
	closed := newMesh(t)
	hide(closed)
	closed.Listeners, closed.Routes["9080"].VirtualHosts = closed.Listeners[:1], nil
	closed.Listeners[0].DefaultFilterChain = nil
	if report := verify(t, closed, known(), xds.Rules{}); report.Result != xds.Empty || !strings.Contains(report.Notes[0], "ends at nowhere") {
		t.Errorf("nothing passes: want empty, got %+v", report)
	}
}

// The address of a Service whose endpoints are down leads nowhere, although a proxy passes it on.
func TestVerifyEmptyInSpiteOfPassthrough(t *testing.T) {
	t.Parallel()
	s := newMesh(t)
	addEDS(s, base)
	addEDS(s, tcpBase)
	if report := verify(t, s, known(), xds.Rules{}); report.Result != xds.Empty {
		t.Errorf("want empty, got %+v", report)
	}
}

// What comes to a gateway for a host (row H5). What it does with requests for any name says nothing about the host.
func TestVerifyThroughGateways(t *testing.T) {
	t.Parallel()
	const sni = "outbound_.9080_._." + reviews
	for name, test := range map[string]struct {
		names []string
		probe string
	}{
		"its SNI":           {[]string{sni}, "tls 0.0.0.0:9080 SNI " + sni},
		"a wildcard":        {[]string{"*.local"}, "tls 0.0.0.0:9080 SNI " + sni},
		"another host's":    {[]string{"outbound_.9080_._.ratings.default.svc.cluster.local"}, ""},
		"whatever is asked": {nil, ""},
	} {
		s := newSnapshot()
		s.Proxy.Kind, s.Names = xds.Gateway, nil
		addEDS(s, base, endpoint("10.1.0.8", "m1c1"))
		addEDS(s, other, endpoint("10.2.0.9", "m1c2"))
		chain := tcpChain(t, tcpTo(other))
		chain.FilterChainMatch = &listenerv3.FilterChainMatch{ServerNames: test.names}
		addListener(s, "0.0.0.0", chain).ListenerFilters = inspectors()
		delete(s.Clusters, base) // the Service tells the port
		report := verify(t, s, known(), xds.Rules{})
		probe := ""
		for _, leak := range report.Leaks {
			probe = leak.Probe
		}
		if probe != test.probe {
			t.Errorf("%s: want a leak by %q, got %+v", name, test.probe, report)
		}
	}
}

// A gateway that takes any server name on the port between clusters gets what proxies there ask a host for, unless it ends
// their TLS itself: they do not take it for the host.
func TestVerifyBetweenClusters(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		ends *corev3.TransportSocket
		want xds.Result
	}{
		"passes TLS on": {nil, xds.Leaks},
		"ends TLS":      {&corev3.TransportSocket{Name: "envoy.transport_sockets.tls"}, xds.Held},
	} {
		s := newSnapshot()
		s.Proxy.Kind, s.Names = xds.Gateway, nil
		addEDS(s, base, endpoint("10.1.0.8", "m1c1"))
		addEDS(s, other, endpoint("10.2.0.9", "m1c2"))
		chain := tcpChain(t, tcpTo(other))
		chain.TransportSocket = test.ends
		listener := addListener(s, "0.0.0.0", chain)
		listener.ListenerFilters = inspectors()
		listener.GetAddress().GetSocketAddress().PortSpecifier = &corev3.SocketAddress_PortValue{PortValue: 15443}
		if report := verify(t, s, known(), xds.Rules{}); report.Result != test.want {
			t.Errorf("%s: want %s, got %+v", name, test.want, report)
		}
	}
}

// What one client is told of a host serves for those that are told nothing.
func TestLearn(t *testing.T) {
	t.Parallel()
	s := newMesh(t)
	want := known()
	if diff := cmp.Diff(want, s.Learn(strict()), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("a host of which only the name is known (-want +got):\n%s", diff)
	}
	other := []xds.Host{{FQDN: reviews, Addresses: []netip.Addr{netip.MustParseAddr("10.101.0.1")}, Ports: []uint16{80}}}
	if diff := cmp.Diff(other, s.Learn(other), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("what is known stays (-want +got):\n%s", diff)
	}
	addType(s, base, clusterv3.Cluster_ORIGINAL_DST)
	s.Names[reviews] = []string{"10.1.0.8"}
	learned := s.Learn(strict())[0]
	if len(learned.Addresses) > 0 || len(learned.Pods) != 1 {
		t.Errorf("headless: want one Pod, got %+v", learned)
	}
}
