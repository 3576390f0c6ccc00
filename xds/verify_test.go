package xds_test

import (
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/xds"
)

func TestVerifyJudgesEndpoints(t *testing.T) {
	t.Parallel()
	inM1C1, inM1C2 := endpoint("10.1.0.8", "m1c1"), endpoint("10.2.0.8", "m1c2")
	mark := func(e *endpointv3.LbEndpoint, health corev3.HealthStatus) *endpointv3.LbEndpoint {
		return &endpointv3.LbEndpoint{HostIdentifier: e.HostIdentifier, Metadata: e.Metadata, HealthStatus: health}
	}
	weigh := func(e *endpointv3.LbEndpoint, weight uint32) *endpointv3.LbEndpoint {
		return &endpointv3.LbEndpoint{HostIdentifier: e.HostIdentifier, Metadata: e.Metadata, LoadBalancingWeight: wrapperspb.UInt32(weight)}
	}
	bare := func(address string) *endpointv3.LbEndpoint {
		return &endpointv3.LbEndpoint{HostIdentifier: endpoint(address, "").HostIdentifier}
	}
	known := map[string]string{"10.1.0.0/16": "m1c1", "10.2.0.0/16": "m1c2", "10.1.9.0/24": "m1c2"}
	tests := map[string]struct {
		endpoints []*endpointv3.LbEndpoint
		addresses map[string]string
		want      xds.Result
		leaving   string
	}{
		"both clusters":                       {[]*endpointv3.LbEndpoint{inM1C1, inM1C2}, nil, xds.Leaks, "m1c2"},
		"none":                                {nil, nil, xds.Empty, ""},
		"local is unhealthy":                  {[]*endpointv3.LbEndpoint{mark(inM1C1, corev3.HealthStatus_UNHEALTHY)}, nil, xds.Empty, ""},
		"local is draining":                   {[]*endpointv3.LbEndpoint{mark(inM1C1, corev3.HealthStatus_DRAINING)}, nil, xds.Empty, ""},
		"local is degraded":                   {[]*endpointv3.LbEndpoint{mark(inM1C1, corev3.HealthStatus_DEGRADED)}, nil, xds.Held, ""},
		"local has no weight":                 {[]*endpointv3.LbEndpoint{weigh(inM1C1, 0)}, nil, xds.Empty, ""},
		"remote has no weight":                {[]*endpointv3.LbEndpoint{weigh(inM1C1, 1), weigh(inM1C2, 0)}, nil, xds.Held, ""},
		"remote is unhealthy for now":         {[]*endpointv3.LbEndpoint{inM1C1, mark(inM1C2, corev3.HealthStatus_UNHEALTHY)}, nil, xds.Leaks, "m1c2"},
		"nobody knows where":                  {[]*endpointv3.LbEndpoint{bare("10.1.0.8")}, nil, xds.Leaks, "unknown"},
		"the address is local":                {[]*endpointv3.LbEndpoint{bare("10.1.0.8")}, known, xds.Held, ""},
		"the address is remote":               {[]*endpointv3.LbEndpoint{bare("10.2.0.8")}, known, xds.Leaks, "m1c2"},
		"the narrower range counts":           {[]*endpointv3.LbEndpoint{bare("10.1.9.8")}, known, xds.Leaks, "m1c2"},
		"the address belies the metadata":     {[]*endpointv3.LbEndpoint{endpoint("10.2.0.8", "m1c1")}, known, xds.Leaks, "m1c2"},
		"the metadata belies the address":     {[]*endpointv3.LbEndpoint{endpoint("10.1.0.8", "m1c2")}, known, xds.Leaks, "m1c2"},
		"a name, whatever the metadata says":  {[]*endpointv3.LbEndpoint{endpoint("reviews.example.com", "m1c1")}, known, xds.Leaks, "unknown"},
		"metadata without a cluster":          {[]*endpointv3.LbEndpoint{endpoint("10.1.0.8", "")}, nil, xds.Leaks, "unknown"},
		"an address outside all known ranges": {[]*endpointv3.LbEndpoint{bare("10.3.0.8")}, known, xds.Leaks, "unknown"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSnapshot()
			addEDS(s, base, test.endpoints...)
			addHTTP(t, s, reviews, routeTo(base))
			report := verify(t, s, strict(), xds.Rules{Addresses: ranges(t, test.addresses)})
			if report.Result != test.want {
				t.Errorf("result: want %s, got %+v", test.want, report)
			}
			leaving := ""
			for _, leak := range report.Leaks {
				for _, e := range leak.Endpoints {
					leaving += e.Cluster
				}
			}
			if leaving != test.leaving {
				t.Errorf("clusters that it leaves to: want %q, got %q", test.leaving, leaving)
			}
		})
	}
}

func TestVerifyPrefer(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		local, remote uint32 // priorities
		health        corev3.HealthStatus
		want          xds.Result
		failover      []string
	}{
		"local first":            {0, 1, corev3.HealthStatus_HEALTHY, xds.Held, []string{"m1c2"}},
		"side by side":           {0, 0, corev3.HealthStatus_HEALTHY, xds.Leaks, []string{}},
		"remote first":           {1, 0, corev3.HealthStatus_HEALTHY, xds.Leaks, []string{}},
		"failed over":            {0, 1, corev3.HealthStatus_UNHEALTHY, xds.Elsewhere, []string{"m1c2"}},
		"failed over, compacted": {1, 0, corev3.HealthStatus_UNHEALTHY, xds.Elsewhere, []string{"m1c2"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSnapshot()
			local := endpoint("10.1.0.8", "m1c1")
			local.HealthStatus = test.health
			addEDS(s, base, local).Endpoints[0].Priority = test.local
			s.Endpoints[base].Endpoints = append(s.Endpoints[base].Endpoints, &endpointv3.LocalityLbEndpoints{
				Priority: test.remote, LbEndpoints: []*endpointv3.LbEndpoint{endpoint("10.2.0.8", "m1c2")},
			})
			addHTTP(t, s, reviews, routeTo(base))
			report := verify(t, s, []xds.Host{{FQDN: reviews, Fence: policy.Prefer}}, xds.Rules{})
			if report.Result != test.want {
				t.Errorf("result: want %s, got %+v", test.want, report)
			}
			if diff := cmp.Diff(test.failover, report.Failover); diff != "" {
				t.Errorf("failover (-want +got):\n%s", diff)
			}
			if report := verify(t, s, strict(), xds.Rules{}); report.Result != xds.Leaks {
				t.Errorf("strict: want leaks at every priority, got %+v", report)
			}
		})
	}
}

// What has no list of endpoints cannot be held by one.
func TestVerifyOpenClusters(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		build func(*testing.T, *xds.Snapshot)
		want  string
	}{
		"original destination": {
			func(t *testing.T, s *xds.Snapshot) {
				addType(s, base, clusterv3.Cluster_ORIGINAL_DST)
				addHTTP(t, s, reviews, routeTo(base))
			},
			"ORIGINAL_DST",
		},
		"custom type": {
			func(t *testing.T, s *xds.Snapshot) {
				s.Clusters[other] = &clusterv3.Cluster{Name: other, ClusterDiscoveryType: &clusterv3.Cluster_ClusterType{
					ClusterType: &clusterv3.Cluster_CustomClusterType{Name: "envoy.clusters.dynamic_forward_proxy"},
				}}
				addHTTP(t, s, reviews, routeTo(other))
			},
			"dynamic_forward_proxy",
		},
		"tunnel to the host": {
			func(t *testing.T, s *xds.Snapshot) {
				addEDS(s, other, endpoint("10.1.0.8", "m1c1"))
				proxy := tcpTo(other)
				proxy.TunnelingConfig = &tcpv3.TcpProxy_TunnelingConfig{Hostname: reviews + ":9080"}
				addListener(s, "10.0.0.1", tcpChain(t, proxy))
			},
			"a tunnel",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSnapshot()
			test.build(t, s)
			report := verify(t, s, strict(), xds.Rules{})
			if report.Result != xds.Leaks || len(report.Leaks) != 1 || !strings.Contains(report.Leaks[0].Reason, test.want) {
				t.Errorf("want one leak because of %s, got %+v", test.want, report)
			}
		})
	}
}

func TestVerifyNameTable(t *testing.T) {
	t.Parallel()
	s := newSnapshot()
	addEDS(s, base, endpoint("10.1.0.8", "m1c1"))
	addHTTP(t, s, reviews, routeTo(base))
	s.Names["reviews-0."+reviews] = []string{"10.1.0.8", "10.2.0.8"}
	rules := xds.Rules{Addresses: ranges(t, map[string]string{"10.1.0.0/16": "m1c1", "10.2.0.0/16": "m1c2"})}
	report := verify(t, s, strict(), rules)
	want := []xds.Leak{{
		Path:      xds.Path{Route: "reviews-0." + reviews, Via: "name table"},
		Endpoints: []xds.Endpoint{{Address: "10.2.0.8", Cluster: "m1c2"}},
		Reason:    "endpoints in m1c2",
	}}
	if diff := cmp.Diff(want, report.Leaks, anyProbe()); diff != "" || report.Result != xds.Leaks {
		t.Errorf("result %s, leaks (-want +got):\n%s", report.Result, diff)
	}
	s.Proxy.DNSCapture = false
	if report := verify(t, s, strict(), rules); report.Result != xds.Held {
		t.Errorf("nobody reads the name table: want held, got %+v", report)
	}
}

func TestVerifyClustersByName(t *testing.T) {
	t.Parallel()
	s := newSnapshot()
	addEDS(s, subset, endpoint("10.1.0.8", "m1c1"))
	addEDS(s, base, endpoint("10.1.0.8", "m1c1"), endpoint("10.2.0.8", "m1c2"))
	// A weight of 0 takes no request.
	addHTTP(t, s, reviews, weighted(map[string]uint32{subset: 100, base: 0}))
	byName := []xds.Leak{{
		Path:      xds.Path{Via: "name", Cluster: base},
		Endpoints: []xds.Endpoint{{Address: "10.2.0.8:9080", Cluster: "m1c2"}},
		Reason:    "endpoints in m1c2",
	}}
	report := verify(t, s, strict(), xds.Rules{})
	if diff := cmp.Diff(byName, report.Unrouted); diff != "" || report.Result != xds.Held {
		t.Errorf("result %s, unrouted (-want +got):\n%s", report.Result, diff)
	}
	report = verify(t, s, strict(), xds.Rules{ByName: true})
	if diff := cmp.Diff(byName, report.Leaks, anyProbe()); diff != "" || report.Result != xds.Leaks || len(report.Unrouted) != 0 {
		t.Errorf("by name: result %s, leaks (-want +got):\n%s", report.Result, diff)
	}
}

func TestVerifyNotes(t *testing.T) {
	t.Parallel()
	byHeader := route(&routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_ClusterHeader{ClusterHeader: "x-cluster"}})
	tests := map[string]struct {
		route *routev3.Route
		want  string
	}{
		"cluster header": {byHeader, "header x-cluster names: unknown"},
		"internal redirect": {
			route(&routev3.RouteAction{
				ClusterSpecifier:       &routev3.RouteAction_Cluster{Cluster: base},
				InternalRedirectPolicy: &routev3.InternalRedirectPolicy{},
			}),
			"follows redirects",
		},
		"redirect": {
			&routev3.Route{Action: &routev3.Route_Redirect{Redirect: &routev3.RedirectAction{HostRedirect: "reviews.example.com"}}},
			`redirects the client to "reviews.example.com"`,
		},
		"cluster that does not exist": {routeTo(subset), "does not exist: calls fail"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSnapshot()
			addEDS(s, base, endpoint("10.1.0.8", "m1c1"))
			addHTTP(t, s, reviews, test.route)
			report := verify(t, s, strict(), xds.Rules{})
			if notes := strings.Join(report.Notes, "\n"); !strings.Contains(notes, test.want) {
				t.Errorf("want a note with %q, got %q", test.want, notes)
			}
		})
	}
}

// A route that has no endpoint left hides behind one that has, and a note tells of it; where nothing is ready at all, the
// result says so.
func TestVerifyEmptiedRoute(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		endpoints []*endpointv3.LbEndpoint
		result    xds.Result
		want      []string
	}{
		"beside one that is held": {
			[]*endpointv3.LbEndpoint{endpoint("10.1.0.8", "m1c1")}, xds.Held,
			[]string{"route 9080/host/default leads to " + subset + ", which has no endpoint: calls fail"},
		},
		"beside one that has none either": {nil, xds.Empty, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSnapshot()
			addEDS(s, base, test.endpoints...)
			addEDS(s, subset)
			addHTTP(t, s, reviews, routeTo(subset), routeTo(base))
			report := verify(t, s, strict(), xds.Rules{})
			if report.Result != test.result {
				t.Errorf("result %s, want %s", report.Result, test.result)
			}
			if diff := cmp.Diff(test.want, report.Notes, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("notes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestVerifyUnknownHost(t *testing.T) {
	t.Parallel()
	s := newSnapshot()
	addEDS(s, other, endpoint("10.2.0.8", "m1c2"))
	addHTTP(t, s, "*", routeTo(other))
	report := verify(t, s, strict(), xds.Rules{})
	if report.Known || report.Result != xds.Empty {
		t.Errorf("want an unknown host, got %+v", report)
	}
}

func verify(t *testing.T, s *xds.Snapshot, hosts []xds.Host, rules xds.Rules) xds.Report {
	t.Helper()
	reports := xds.Verify(s, hosts, rules)
	if len(reports) != 1 {
		t.Fatalf("want one report, got %+v", reports)
	}
	return reports[0]
}

// The weight of a locality counts only for a cluster that asks for it; for all others Envoy ignores it.
func TestVerifyLocalityWeight(t *testing.T) {
	t.Parallel()
	s := newSnapshot()
	addEDS(s, base, endpoint("10.1.0.8", "m1c1"))
	s.Endpoints[base].Endpoints = append(s.Endpoints[base].Endpoints, &endpointv3.LocalityLbEndpoints{
		LoadBalancingWeight: wrapperspb.UInt32(0), LbEndpoints: []*endpointv3.LbEndpoint{endpoint("10.2.0.8", "m1c2")},
	})
	addHTTP(t, s, reviews, routeTo(base))
	if report := verify(t, s, strict(), xds.Rules{}); report.Result != xds.Leaks {
		t.Errorf("weights are ignored: want leaks, got %+v", report)
	}
	s.Clusters[base].CommonLbConfig = &clusterv3.Cluster_CommonLbConfig{
		LocalityConfigSpecifier: &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig_{
			LocalityWeightedLbConfig: &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig{},
		},
	}
	if report := verify(t, s, strict(), xds.Rules{}); report.Result != xds.Held {
		t.Errorf("weights count: want held, got %+v", report)
	}
}

// What a proxy takes in for its own workload does not leave.
func TestVerifyInboundClusters(t *testing.T) {
	t.Parallel()
	const inbound = "inbound|9080|http|" + reviews
	s := newSnapshot()
	addEDS(s, base, endpoint("10.1.0.8", "m1c1"))
	addType(s, inbound, clusterv3.Cluster_ORIGINAL_DST)
	addHTTP(t, s, reviews, routeTo(base))
	addListener(s, "0.0.0.0", tcpChain(t, tcpTo(inbound)))
	if report := verify(t, s, strict(), xds.Rules{}); report.Result != xds.Held || len(report.Unrouted) != 0 {
		t.Errorf("want held, got %+v", report)
	}
}
