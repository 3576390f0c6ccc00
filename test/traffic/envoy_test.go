package traffic_test

import (
	"flag"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/test/testbed"
	"github.com/meshfence/meshfence/xds"
)

var withEnvoy = flag.Bool("envoy", false, "go through real Envoys too, which needs python3 with pip")

// TestEnvoy goes through the holds with calls that real sidecars and ingress gateways forward, TCP included.
func TestEnvoy(t *testing.T) {
	if !*withEnvoy {
		t.Skip("without -envoy nothing goes through Envoy")
	}
	w := startWorld(t, testbed.MeshOptions{NodeLabels: regions(), Envoy: true})
	edges := map[string]*testbed.Client{}
	for _, c := range w.Clusters {
		edges[c.Name] = startEnvoy(t, w.Mesh, testbed.EnvoyOptions{Gateway: true, ClientOptions: testbed.ClientOptions{
			Cluster: c, Namespace: "istio-system", Name: "istio-ingressgateway", Address: edgeAddress(c),
			Labels: map[string]string{"istio": "ingressgateway"}, Locality: w.locality(c.Name),
		}}).Client()
	}
	all := userObjects()
	for _, one := range []struct {
		holds   holds
		objects string
	}{
		{holds{"meshConfig"}, "no rule"},
		{holds{"subset"}, "no rule"},
		{holds{"subset"}, "a route without subset"},
		{holds{"locality"}, "no rule"},
	} {
		t.Run(one.holds.String()+", "+one.objects, func(t *testing.T) {
			w.configure(t, one.holds, "none")
			s := w.newShop(t, "reviews")
			s.throughEnvoy(t, edges)
			fencedAndFreed(t, w, s, all[one.objects])
		})
	}
	t.Run("prefer", func(t *testing.T) { failsOver(t, w, edges) })
	t.Run("prefer, a rule of the Service", func(t *testing.T) { returns(t, w, edges) })
}

// failsOver has a server crash, whose Pod stays Ready, so that istiod goes on to name it: with meshfence's outlier
// detection Envoy ejects it.
func failsOver(t *testing.T, w *world, edges map[string]*testbed.Client) {
	s := w.newShop(t, "reviews")
	s.throughEnvoy(t, edges)
	s.everywhere(t, "reviews")
	w.kubectl(t, "annotate", "service", "reviews", "-n", s.namespace, "meshfence.io/fence=prefer")
	s.atHome(t, policy.Prefer)
	s.servers[testbed.FirstCluster]["reviews"].Crash()
	s.reached(t, "reviews", w.Clusters[0], testbed.SecondCluster)
}

// ejecting is a rule of a user who has Envoy try again sooner than after the half minute of meshfence's.
const ejecting = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  trafficPolicy:
    outlierDetection: {consecutive5xxErrors: 2, interval: 500ms, baseEjectionTime: 1s, maxEjectionPercent: 100}
`

// returns has servers crash, and go down, and shows that calls come back with them.
func returns(t *testing.T, w *world, edges map[string]*testbed.Client) {
	s := w.newShop(t, "reviews")
	s.throughEnvoy(t, edges)
	for _, c := range w.Primaries() {
		apply(t, c, s.namespace, ejecting)
	}
	w.kubectl(t, "annotate", "service", "reviews", "-n", s.namespace, "meshfence.io/fence=prefer")
	s.atHome(t, policy.Prefer)
	for i, c := range w.Clusters {
		other := w.Clusters[1-i].Name
		s.servers[c.Name]["reviews"].Crash()
		s.reached(t, "reviews", c, other)
		s.up(t, c, "reviews")
		s.atHome(t, policy.Prefer)
		s.down(t, c, "reviews")
		s.decided(t, "reviews", c, policy.Prefer, xds.Elsewhere, other)
		s.up(t, c, "reviews")
		s.atHome(t, policy.Prefer)
	}
}

// throughEnvoy gives the shop's clients sidecars, and clients of the ingress gateways.
func (s *shop) throughEnvoy(t *testing.T, edges map[string]*testbed.Client) {
	t.Helper()
	s.edges = edges
	for _, c := range s.mesh.Clusters {
		address := c.Host(21)
		apply(t, c, s.callers, s.egress(address))
		s.clients[c.Name] = startEnvoy(t, s.mesh, testbed.EnvoyOptions{ClientOptions: testbed.ClientOptions{
			Cluster: c, Namespace: s.callers, Address: address, Locality: s.localities[c.Name],
		}}).Client()
	}
}

// egress has a sidecar listen on its own address, for every port of a Service. Where several Services have a port for
// TCP the first would get it: there is room for one.
func (s *shop) egress(address netip.Addr) string {
	protocols := map[uint16]string{tcpPort: "TCP"}
	for _, port := range ports() {
		protocols[port] = "GRPC"
	}
	var listeners []string
	for port, protocol := range protocols {
		listeners = append(listeners, fmt.Sprintf("{port: {number: %d, protocol: %s, name: %[2]s-%[1]d}, "+
			"bind: %[3]s, captureMode: NONE, hosts: [%[4]s/*]}", port, protocol, address, s.namespace))
	}
	return "{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: default}, spec: {egress: [" +
		strings.Join(listeners, ", ") + "]}}"
}

// startEnvoy starts a proxy that the test's end stops.
func startEnvoy(t *testing.T, m *testbed.Mesh, o testbed.EnvoyOptions) *testbed.Envoy {
	t.Helper()
	e, err := m.StartEnvoy(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if refused := e.Refused(); len(refused) > 0 {
			t.Errorf("Envoy refused %s", strings.Join(refused, "\n"))
		}
		if t.Failed() {
			t.Log(e.Log(20))
		}
		e.Stop()
	})
	return e
}
