package xds_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/test/testbed"
	"github.com/meshfence/meshfence/xds"
)

// TestVerify asks real istiods. Every state that is held has shown its leak before.
func TestVerify(t *testing.T) {
	tests := map[string]func(*testing.T, *suite){
		"mesh-config":   testMeshConfig,
		"subset":        testSubset,
		"empty":         testEmpty,
		"mirror":        testMirror,
		"headless":      testHeadless,
		"prefer":        testPrefer,
		"address":       testAddress,
		"passthrough":   testPassthrough,
		"access-log":    testAccessLog,
		"other-host":    testOtherHost,
		"locality":      testLocality,
		"command":       testCommand,
		"external-name": testExternalName,
		"rest":          testRest,
		"rows":          testRows,
	}
	for name, shared := range map[string]bool{"multi-primary": false, "one-istiod": true} {
		t.Run(name, func(t *testing.T) {
			m, err := testbed.StartMesh(t.Context(), testbed.MeshOptions{Shared: shared, NodeLabels: map[string]map[string]string{
				testbed.FirstCluster:  {"topology.kubernetes.io/region": "r1"},
				testbed.SecondCluster: {"topology.kubernetes.io/region": "r2"},
			}})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if t.Failed() {
					t.Log(m.Logs(10))
				}
				m.Stop()
			})
			n := 0
			for name, test := range tests {
				n++
				t.Run(name, func(t *testing.T) { test(t, newSuite(t, m, name, n)) })
			}
		})
	}
}

// The paths to reviews that a mesh without fences has.

func (s *suite) cluster(port int) string { return fmt.Sprintf("outbound|%d||%s", port, s.host()) }

func (s *suite) httpPath() xds.Path {
	return xds.Path{Listener: "0.0.0.0_9080", Route: "9080/" + s.host() + ":9080/default", Via: "route", Cluster: s.cluster(9080)}
}

func (s *suite) ingressPath() xds.Path {
	route := "http.8080/" + s.namespace + ".example.com:8080/page"
	return xds.Path{Listener: "0.0.0.0_8080", Route: route, Via: "route", Cluster: s.cluster(9080)}
}

// tcpPath is on the listener of the Service's address in the cluster that holds the client.
func (s *suite) tcpPath(t *testing.T, cluster string) xds.Path {
	t.Helper()
	address, _, err := s.mesh.Cluster(cluster).Kubectl(t.Context(), "",
		"get", "service", "reviews", "-n", s.namespace, "-o", "jsonpath={.spec.clusterIP}")
	if err != nil {
		t.Fatal(err)
	}
	return xds.Path{Listener: address + "_9090", Via: "tcp", Cluster: s.cluster(9090)}
}

func (s *suite) sniPaths() []xds.Path {
	var paths []xds.Path
	for _, port := range []int{9080, 9090} {
		cluster := fmt.Sprintf("outbound_.%d_._.%s", port, s.host())
		paths = append(paths, xds.Path{Listener: "0.0.0.0_15443", Via: "tcp", Cluster: cluster})
	}
	return paths
}

func testMeshConfig(t *testing.T, s *suite) {
	for _, c := range s.mesh.Clusters {
		report := s.expect(t, s.sidecar(c.Name), xds.Leaks, s.httpPath(), s.tcpPath(t, c.Name))
		other := map[string]string{"m1c1": "m1c2", "m1c2": "m1c1"}[c.Name]
		for _, leak := range report.Leaks {
			if len(leak.Endpoints) != 1 || leak.Endpoints[0].Cluster != other || !strings.HasPrefix(leak.Endpoints[0].Address, s.pods[other].String()) {
				t.Errorf("want the one endpoint of %s, got %s", other, indent(leak))
			}
		}
		s.expect(t, s.gateway(c.Name, ingress), xds.Leaks, s.ingressPath())
		s.expect(t, s.gateway(c.Name, eastWest), xds.Leaks, s.sniPaths()...)
	}
	s.fenceByMeshConfig(t)
	for _, c := range s.mesh.Clusters {
		s.expect(t, s.sidecar(c.Name), xds.Held)
		s.expect(t, s.gateway(c.Name, ingress), xds.Held)
		s.expect(t, s.gateway(c.Name, eastWest), xds.Held)
	}
}

// fencedSubset is what hold subset makes of a Service, with its HTTP port alone routed (row A3).
const fencedSubset = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  subsets: [{name: meshfence-local, labels: {topology.istio.io/cluster: m1c1}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http: [{route: [{destination: {host: reviews, subset: meshfence-local}}]}]
`

func testSubset(t *testing.T, s *suite) {
	s.apply(t, fencedSubset)
	s.expect(t, s.sidecar("m1c1"), xds.Leaks, s.tcpPath(t, "m1c1"))
	s.apply(t, fencedSubset+"  tcp: [{match: [{port: 9090}], route: [{destination: {host: reviews, subset: meshfence-local}}]}]\n")
	report := s.expect(t, s.sidecar("m1c1"), xds.Held)
	byName := map[string]bool{}
	for _, leak := range report.Unrouted {
		byName[leak.Cluster] = true
	}
	if len(byName) != 2 || !byName[s.cluster(9080)] || !byName[s.cluster(9090)] {
		t.Errorf("want both base clusters reported, got %s", indent(report))
	}
	paths := []xds.Path{{Via: "name", Cluster: s.cluster(9080)}, {Via: "name", Cluster: s.cluster(9090)}}
	s.expectBy(t, s.sidecar("m1c1"), policy.Strict, xds.Rules{ByName: true}, xds.Leaks, paths...)
	// The ingress gateway routes to the base cluster still (row A5).
	s.expect(t, s.gateway("m1c1", ingress), xds.Leaks, s.ingressPath())
	// One label for the clients of all clusters sends those of the other one here (row B17).
	if len(s.mesh.Primaries()) == 1 {
		report := s.expectVia(t, s.sidecar("m1c2"), xds.Leaks)
		if report.Leaks[0].Endpoints[0].Cluster != "m1c1" {
			t.Errorf("want a leak to m1c1, got %s", indent(report))
		}
	}
}

func testEmpty(t *testing.T, s *suite) {
	s.fenceByMeshConfig(t)
	s.expect(t, s.sidecar("m1c1"), xds.Held)
	first := s.mesh.Cluster("m1c1")
	if _, _, err := first.Kubectl(t.Context(), "", "delete", "pod", "reviews", "-n", s.namespace); err != nil {
		t.Fatal(err)
	}
	for _, proxy := range []xds.Proxy{s.sidecar("m1c1"), s.gateway("m1c1", ingress), s.gateway("m1c1", eastWest)} {
		s.expect(t, proxy, xds.Empty)
	}
	s.expect(t, s.sidecar("m1c2"), xds.Held)
}

func testMirror(t *testing.T, s *suite) {
	mirrored := strings.Replace(fencedSubset, "route: [{", "mirror: {host: reviews, port: {number: 9080}}, route: [{", 1)
	s.apply(t, mirrored)
	mirror := s.httpPath()
	mirror.Route, mirror.Via = strings.TrimSuffix(mirror.Route, "default")+"#0", "mirror"
	s.expect(t, s.sidecar("m1c1"), xds.Leaks, mirror, s.tcpPath(t, "m1c1"))
	s.fenceByMeshConfig(t)
	s.expect(t, s.sidecar("m1c1"), xds.Held)
}

// A headless Service is out of the mesh config's reach in sidecars, and within it in gateways (row E4).
func testHeadless(t *testing.T, s *suite) {
	for _, c := range s.mesh.Clusters {
		if _, _, err := c.Kubectl(t.Context(), "", "delete", "service", "reviews", "-n", s.namespace); err != nil {
			t.Fatal(err)
		}
		s.applyTo(t, c, strings.Replace(service, "spec:", "spec:\n  clusterIP: None", 1))
	}
	s.expect(t, s.gateway("m1c1", ingress), xds.Leaks, s.ingressPath())
	s.fenceByMeshConfig(t)
	s.expect(t, s.gateway("m1c1", ingress), xds.Held)
	rules := xds.Rules{Addresses: xds.Addresses{netip.PrefixFrom(s.pods["m1c2"], 32): "m1c2"}}
	err := testbed.Eventually(t.Context(), patience, func(ctx context.Context) error {
		report, err := s.verify(ctx, s.sidecar("m1c1"), policy.Strict, rules)
		if err != nil {
			return err
		}
		reasons := indent(report)
		if report.Result != xds.Leaks || !strings.Contains(reasons, "ORIGINAL_DST") || !strings.Contains(reasons, "name table") {
			return fmt.Errorf("want leaks by original destination and by the name table, got %s", reasons)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

const preferLocal = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  trafficPolicy:
    loadBalancer: {localityLbSetting: {failoverPriority: [topology.istio.io/cluster]}}
`

func testPrefer(t *testing.T, s *suite) {
	s.apply(t, preferLocal) // Istio ignores it without outlierDetection
	s.expectBy(t, s.sidecar("m1c1"), policy.Prefer, xds.Rules{}, xds.Leaks, s.httpPath(), s.tcpPath(t, "m1c1"))
	s.apply(t, preferLocal+"    outlierDetection: {consecutive5xxErrors: 5}\n")
	report := s.expectBy(t, s.sidecar("m1c1"), policy.Prefer, xds.Rules{}, xds.Held)
	if len(report.Failover) != 1 || report.Failover[0] != "m1c2" {
		t.Errorf("want failover to m1c2, got %s", indent(report))
	}
	s.expect(t, s.sidecar("m1c1"), xds.Leaks, s.httpPath(), s.tcpPath(t, "m1c1"))
}

// testAddress shows what istiod alone cannot tell: an address of the other cluster in a ServiceEntry of this one
// counts as local (row D1).
func testAddress(t *testing.T, s *suite) {
	s.fenceByMeshConfig(t)
	s.expect(t, s.sidecar("m1c1"), xds.Held)
	s.apply(t, `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: reviews}
spec:
  hosts: [reviews.NAMESPACE.svc.cluster.local]
  ports: [{number: 9080, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: `+s.pods["m1c2"].String()+`}]
`)
	rules := xds.Rules{Addresses: xds.Addresses{netip.MustParsePrefix("10.1.0.0/16"): "m1c1", netip.MustParsePrefix("10.2.0.0/16"): "m1c2"}}
	s.expectBy(t, s.sidecar("m1c1"), policy.Strict, rules, xds.Leaks, s.httpPath())
	s.expect(t, s.sidecar("m1c1"), xds.Held)
}

func testPassthrough(t *testing.T, s *suite) {
	s.fenceByMeshConfig(t)
	s.expect(t, s.sidecar("m1c1"), xds.Held)
	s.apply(t, `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec: {host: reviews, trafficPolicy: {loadBalancer: {simple: PASSTHROUGH}}}
`)
	report := s.expectVia(t, s.sidecar("m1c1"), xds.Leaks)
	if !strings.Contains(report.Leaks[0].Reason, "ORIGINAL_DST") {
		t.Errorf("want ORIGINAL_DST as the reason, got %s", indent(report))
	}
}

// testAccessLog has the proxies send their access log to the host, which no route shows (row A4).
func testAccessLog(t *testing.T, s *suite) {
	s.apply(t, fencedSubset+"  tcp: [{match: [{port: 9090}], route: [{destination: {host: reviews, subset: meshfence-local}}]}]\n")
	s.expect(t, s.sidecar("m1c1"), xds.Held)
	s.editMesh(t, "extensionProviders: [{name: reviews, envoyHttpAls: {service: "+s.host()+", port: 9080}}]\n")
	s.apply(t, `
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: reviews}
spec: {accessLogging: [{providers: [{name: reviews}]}]}
`)
	report := s.expectVia(t, s.sidecar("m1c1"), xds.Leaks)
	for _, leak := range report.Leaks {
		if leak.Via != "reference" || leak.Cluster != s.cluster(9080) || leak.Listener == "" {
			t.Errorf("want references to the base cluster alone, got %s", indent(leak))
		}
	}
}

// testOtherHost routes the host's requests to another one, which lies in the other cluster by its name (row C3).
func testOtherHost(t *testing.T, s *suite) {
	s.fenceByMeshConfig(t)
	s.expect(t, s.sidecar("m1c1"), xds.Held)
	s.apply(t, `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: elsewhere}
spec:
  hosts: [reviews-m1c2.example.com]
  location: MESH_INTERNAL
  ports: [{number: 9080, name: http, protocol: HTTP}]
  resolution: DNS
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http: [{name: away, route: [{destination: {host: reviews-m1c2.example.com}}]}]
`)
	away := s.httpPath()
	away.Route, away.Cluster = strings.TrimSuffix(away.Route, "default")+"away", "outbound|9080||reviews-m1c2.example.com"
	report := s.expect(t, s.sidecar("m1c1"), xds.Leaks, away)
	if report.Leaks[0].Endpoints[0].Cluster != xds.Unknown {
		t.Errorf("want an unknown cluster, got %s", indent(report))
	}
}

// testLocality keeps traffic to a region, for clients that are in one.
func testLocality(t *testing.T, s *suite) {
	s.apply(t, `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  trafficPolicy:
    loadBalancer:
      localityLbSetting:
        distribute: [{from: "r1/*", to: {"r1/*": 100}}, {from: "r2/*", to: {"r2/*": 100}}]
`)
	for cluster, locality := range map[string]string{"m1c1": "r1/z1", "m1c2": "r2/z1"} {
		proxy := s.sidecar(cluster)
		proxy.Locality = locality
		s.expect(t, proxy, xds.Held)
		proxy.Locality = "r3/z1" // matches no from: no restriction at all
		s.expect(t, proxy, xds.Leaks, s.httpPath(), s.tcpPath(t, cluster))
	}
}

// testExternalName makes the host another name of a Service that is not fenced (row E3).
func testExternalName(t *testing.T, s *suite) {
	s.fenceByMeshConfig(t)
	s.expect(t, s.sidecar("m1c1"), xds.Held)
	for _, c := range s.mesh.Clusters {
		if _, _, err := c.Kubectl(t.Context(), "", "delete", "service", "reviews", "-n", s.namespace); err != nil {
			t.Fatal(err)
		}
		s.applyTo(t, c, strings.Replace(service, "name: reviews", "name: elsewhere", 1))
		s.applyTo(t, c, `
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {type: ExternalName, externalName: elsewhere.NAMESPACE.svc.cluster.local, ports: [{name: http, port: 9080}]}
`)
	}
	elsewhere := "elsewhere." + s.namespace + ".svc.cluster.local"
	s.expect(t, s.sidecar("m1c1"), xds.Leaks, xds.Path{
		Listener: "0.0.0.0_9080", Route: "9080/" + elsewhere + ":9080/default", Via: "route", Cluster: "outbound|9080||" + elsewhere,
	})
}

// expectVia waits for a result, whatever the paths are.
func (s *suite) expectVia(t *testing.T, proxy xds.Proxy, result xds.Result) xds.Report {
	t.Helper()
	var report xds.Report
	err := testbed.Eventually(t.Context(), patience, func(ctx context.Context) error {
		var err error
		if report, err = s.verify(ctx, proxy, policy.Strict, xds.Rules{}); err != nil {
			return err
		}
		if report.Result != result {
			return fmt.Errorf("want %s, got %s", result, indent(report))
		}
		return nil
	})
	if err != nil {
		t.Fatalf("%s of %s: %v", proxy.Kind, proxy.Cluster, err)
	}
	return report
}
