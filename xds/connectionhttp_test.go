package xds_test

import (
	"net/netip"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	sniclusterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/sni_cluster/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/xds"
)

func portRange(port int32) *typev3.Int32Range { return &typev3.Int32Range{Start: port, End: port + 1} }

// The virtual host of a request, in the order that Envoy documents (VirtualHost.domains).
func TestResolvePicksTheVirtualHost(t *testing.T) {
	t.Parallel()
	domains := []string{"a.example.com", "*.example.com", "*.com", "a.*", "a.example.*", "b.example.org:9080", "UPPER.example.com", "c.example.net."}
	tests := map[string]struct {
		host  string
		set   func(*hcmv3.HttpConnectionManager, *routev3.RouteConfiguration)
		want  string
		noAll bool
	}{
		"exact":                       {host: "a.example.com", want: "a.example.com"},
		"case of the request":         {host: "A.Example.COM", want: "a.example.com"},
		"case of the domain":          {host: "upper.example.com", want: "UPPER.example.com"},
		"longest suffix":              {host: "x.example.com", want: "*.example.com"},
		"shorter suffix":              {host: "x.com", want: "*.com"},
		"a suffix before a prefix":    {host: "a.b.com", want: "*.com"},
		"longest prefix":              {host: "a.example.org", want: "a.example.*"},
		"shorter prefix":              {host: "a.b.org", want: "a.*"},
		"a star is one character":     {host: ".example.com", want: "*.com"},
		"any":                         {host: "nobody.org", want: "*"},
		"none":                        {host: "nobody.org", noAll: true, want: `no virtual host takes "nobody.org"`},
		"a port counts":               {host: "a.example.com:9080", want: "a.example.*"},
		"a port that is asked for":    {host: "b.example.org:9080", want: "b.example.org:9080"},
		"a closing dot counts":        {host: "a.example.com.", want: "a.example.*"},
		"a closing dot is asked for":  {host: "c.example.net.", want: "c.example.net."},
		"an address":                  {host: "[fd00::1]:9080", want: "*"},
		"a closing dot is taken away": {"a.example.com.", stripDot, "a.example.com", false},
		"a port is ignored":           {"a.example.com:9080", ignorePort, "a.example.com", false},
		"a port in a domain is not":   {"b.example.org:9080", ignorePort, "*", false},
		"any port is taken away":      {"a.example.com:1", stripAny, "a.example.com", false},
		"its own port is taken away":  {"a.example.com:9080", stripOwn, "a.example.com", false},
		"another port is not":         {"a.example.com:1", stripOwn, "a.example.*", false},
		"dot and port are taken away": {"a.example.com.:9080", stripBoth, "a.example.com", false},
		"a header chooses":            {"a.example.com", byHeader, "the header x of a request chooses the virtual host", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := &routev3.RouteConfiguration{Name: "routes"}
			manager := &hcmv3.HttpConnectionManager{}
			if test.set != nil {
				test.set(manager, config)
			}
			all := domains
			if !test.noAll {
				all = append([]string{"*"}, domains...)
			}
			for _, domain := range all {
				config.VirtualHosts = append(config.VirtualHosts, &routev3.VirtualHost{
					Name: domain, Domains: []string{domain}, Routes: []*routev3.Route{routeTo(domain)},
				})
			}
			manager.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: config}
			s := newSnapshot()
			addListener(s, "0.0.0.0", chainOf(pack(t, manager)))
			got := s.Resolve(xds.Probe{Address: to("10.0.0.1:9080"), Protocol: xds.HTTP, Host: test.host}, xds.Rules{})
			if diff := cmp.Diff([]string{test.want}, ends(got)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func stripDot(m *hcmv3.HttpConnectionManager, _ *routev3.RouteConfiguration) {
	m.StripTrailingHostDot = true
}

func ignorePort(_ *hcmv3.HttpConnectionManager, c *routev3.RouteConfiguration) {
	c.IgnorePortInHostMatching = true
}

func byHeader(_ *hcmv3.HttpConnectionManager, c *routev3.RouteConfiguration) { c.VhostHeader = "x" }

func stripBoth(m *hcmv3.HttpConnectionManager, c *routev3.RouteConfiguration) {
	stripDot(m, c)
	stripAny(m, c)
}

func stripAny(m *hcmv3.HttpConnectionManager, _ *routev3.RouteConfiguration) {
	m.StripPortMode = &hcmv3.HttpConnectionManager_StripAnyHostPort{StripAnyHostPort: true}
}

func stripOwn(m *hcmv3.HttpConnectionManager, _ *routev3.RouteConfiguration) {
	m.StripMatchingHostPort = true
}

// All that can become of a request, whatever it is beside its Host.
func TestResolveFollowsRoutes(t *testing.T) {
	t.Parallel()
	some := routeTo("some")
	some.Match = &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/some"}}
	byHeader := routeTo("by-header")
	byHeader.Match = &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}, Headers: []*routev3.HeaderMatcher{{Name: "x"}}}
	all := routeTo("all")
	all.Match = &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}}
	mirrors := func(names ...string) []*routev3.RouteAction_RequestMirrorPolicy {
		var policies []*routev3.RouteAction_RequestMirrorPolicy
		for _, name := range names {
			policies = append(policies, &routev3.RouteAction_RequestMirrorPolicy{Cluster: name})
		}
		return policies
	}
	mirrored := routeTo("all")
	mirrored.GetRoute().RequestMirrorPolicies = mirrors("mirror")
	seldom := routeTo("all")
	seldom.GetRoute().RequestMirrorPolicies = mirrors("mirror")
	seldom.GetRoute().RequestMirrorPolicies[0].RuntimeFraction = &corev3.RuntimeFractionalPercent{DefaultValue: &typev3.FractionalPercent{}}
	redirect := &routev3.Route{Action: &routev3.Route_Redirect{Redirect: &routev3.RedirectAction{HostRedirect: "b"}}}
	named := route(&routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_ClusterHeader{ClusterHeader: "x"}})
	plugin := route(&routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_ClusterSpecifierPlugin{}})
	tests := map[string]struct {
		routes   []*routev3.Route
		onHost   []*routev3.RouteAction_RequestMirrorPolicy
		onConfig []*routev3.RouteAction_RequestMirrorPolicy
		want     []string
	}{
		"every route until one that matches all": {routes: []*routev3.Route{some, byHeader, all, routeTo("hidden")}, want: []string{"some", "by-header", "all"}},
		"weights":                                {routes: []*routev3.Route{weighted(map[string]uint32{"one": 1, "none": 0})}, want: []string{"one"}},
		"mirror of the route":                    {routes: []*routev3.Route{mirrored}, onHost: mirrors("host"), want: []string{"all", "mirror"}},
		"mirror that gets nothing":               {routes: []*routev3.Route{seldom}, onHost: mirrors("host"), want: []string{"all"}},
		"mirror of the virtual host":             {routes: []*routev3.Route{all}, onHost: mirrors("host"), onConfig: mirrors("config"), want: []string{"all", "host"}},
		"mirror of the route configuration":      {routes: []*routev3.Route{all}, onConfig: mirrors("config"), want: []string{"all", "config"}},
		"a virtual host without routes":          {want: []string{"the virtual host has no route"}},
		"redirect":                               {routes: []*routev3.Route{redirect}, onHost: mirrors("host"), want: []string{`the client is redirected to "b"`}},
		"direct response":                        {routes: []*routev3.Route{{Action: &routev3.Route_DirectResponse{}}}, want: []string{"the proxy answers itself"}},
		"a header names the cluster":             {routes: []*routev3.Route{named}, want: []string{"the header x of a request names the cluster"}},
		"a plugin chooses the cluster":           {routes: []*routev3.Route{plugin}, want: []string{"a plugin chooses the cluster"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSnapshot()
			config := addHTTP(t, s, reviews, test.routes...)
			config.VirtualHosts[0].RequestMirrorPolicies, config.RequestMirrorPolicies = test.onHost, test.onConfig
			got := s.Resolve(xds.Probe{Address: to("10.0.0.1:9080"), Protocol: xds.HTTP, Host: reviews}, xds.Rules{})
			if diff := cmp.Diff(test.want, ends(got)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// A chain that expects something else takes nothing further.
func TestResolveExpectsItsProtocol(t *testing.T) {
	t.Parallel()
	s := newSnapshot()
	addEDS(s, base, endpoint("10.1.0.8", "m1c1"))
	addHTTP(t, s, reviews, routeTo(base))
	chain := s.Listeners[0].FilterChains[0]
	address := to("10.0.0.1:9080")
	for name, test := range map[string]struct {
		terminates bool
		probe      xds.Probe
		want       string
	}{
		"HTTP":                    {false, xds.Probe{Protocol: xds.HTTP, Host: reviews}, base},
		"bytes":                   {false, xds.Probe{Protocol: xds.TCP}, "the filter chain expects HTTP in plain text"},
		"TLS":                     {false, xds.Probe{Protocol: xds.TLS}, "the filter chain expects HTTP in plain text"},
		"plain text, where TLS":   {true, xds.Probe{Protocol: xds.HTTP, Host: reviews}, "the filter chain expects TLS"},
		"TLS that ends here":      {true, xds.Probe{Protocol: xds.TLS, SNI: reviews}, base},
		"another Host inside TLS": {true, xds.Probe{Protocol: xds.TLS, SNI: reviews, Host: "other"}, `no virtual host takes "other"`},
	} {
		chain.TransportSocket = nil
		if test.terminates {
			chain.TransportSocket = &corev3.TransportSocket{}
		}
		test.probe.Address = address
		if got := ends(s.Resolve(test.probe, xds.Rules{})); got[0] != test.want {
			t.Errorf("%s: want %s, got %v", name, test.want, got)
		}
	}
}

// A gateway can send a connection to the cluster that the client names by SNI.
func TestResolveClusterBySNI(t *testing.T) {
	t.Parallel()
	s := newSnapshot()
	addEDS(s, dnat, endpoint("10.2.0.8", "m1c2"))
	addListener(s, "0.0.0.0", &listenerv3.FilterChain{Filters: append(
		chainOf(pack(t, &sniclusterv3.SniCluster{})).Filters, tcpChain(t, tcpTo("BlackHoleCluster")).Filters...,
	)})
	got := s.Resolve(xds.Probe{Address: to("10.0.0.1:9080"), Protocol: xds.TLS, SNI: dnat}, xds.Rules{})
	if len(got) != 1 || got[0].Cluster != dnat || got[0].Verdict != xds.Leaves {
		t.Errorf("want it to leave by %s, got %+v", dnat, got)
	}
}

// What a client gets for a name by its agent, and by the DNS of the cluster for what the agent does not know.
func TestLookup(t *testing.T) {
	t.Parallel()
	s := newSnapshot()
	s.Names = map[string][]string{
		reviews: {address}, "ratings.other.svc.cluster.local": {"10.101.0.8"}, "*.wild.example.com": {"240.240.0.1"},
		reviews + ".default.svc.cluster.local": {"240.240.0.2"},
		// The agent prefers what it takes the longer name for: the Service that the shorter one is of.
		"ratings.other.default.svc.cluster.local": {"240.240.0.3"},
		"hidden.other.svc.svc.cluster.local":      {"240.240.0.4"},
	}
	s.NamedServices = map[string]hostname.Host{
		reviews:                           {Namespace: "default", Name: "reviews"},
		"ratings.other.svc.cluster.local": {Namespace: "other", Name: "ratings"},
	}
	cluster := func(name string) []netip.Addr {
		if name == "hidden.other.svc.cluster.local" {
			return []netip.Addr{netip.MustParseAddr("10.101.0.9")}
		}
		return nil
	}
	for name, want := range map[string]string{
		"reviews":                         address,
		"REVIEWS.default":                 address,
		"reviews.default.svc":             address,
		reviews:                           "240.240.0.2",
		reviews + ".":                     address,
		"ratings":                         "",
		"ratings.other":                   "10.101.0.8",
		"ratings.other.svc":               "10.101.0.8",
		"ratings.other.svc.cluster.local": "10.101.0.8",
		"a.wild.example.com":              "240.240.0.1",
		"wild.example.com":                "",
		"hidden.other":                    "10.101.0.9",
		"hidden.other.svc":                "240.240.0.4",
		"hidden.other.svc.cluster.local":  "10.101.0.9",
	} {
		got := ""
		for _, address := range xds.NewResolver(s, xds.Rules{}).Lookup(name, cluster).Addresses {
			got += address.String()
		}
		if got != want {
			t.Errorf("%s: want %q, got %q", name, want, got)
		}
	}
	s.Proxy.DNSCapture = false
	if got := xds.NewResolver(s, xds.Rules{}).Lookup("reviews", nil); len(got.Addresses) > 0 {
		t.Errorf("nobody reads the name table: got %+v", got)
	}
}
