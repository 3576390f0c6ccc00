package traffic_test

import (
	"context"
	"fmt"
	"hash/fnv"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/test/testbed"
	"github.com/meshfence/meshfence/xds"
)

// shop is a namespace in each cluster with some Services, one server for each in each cluster, and a namespace with
// one client in each cluster.
type shop struct {
	mesh      *testbed.Mesh
	namespace string
	// callers is the namespace of the clients.
	callers string
	// servers are by cluster and app, clients by cluster.
	servers    map[string]map[string]*testbed.Server
	clients    map[string]*testbed.Client
	localities map[string]string
	// edges are clients of the ingress gateways, by cluster; nil where calls do not go through Envoy.
	edges map[string]*testbed.Client
}

// tcpPort is that of every Service for TCP, which proxyless clients cannot call.
const tcpPort = 9000

// ports are those of every Service that a proxyless client can call; all lead to the same servers.
func ports() []uint16 { return []uint16{9080, 9081} }

// service returns a Service with those ports.
func service(app string) string {
	return fmt.Sprintf("{apiVersion: v1, kind: Service, metadata: {name: %[1]s, labels: {app: %[1]s}}, "+
		"spec: {selector: {app: %[1]s}, ports: [{name: grpc, port: 9080}, {name: grpc-second, port: 9081, targetPort: 9080}, "+
		"{name: tcp, port: %d, targetPort: 9080}]}}", app, tcpPort)
}

// edgePort is that of ingress gateways.
const edgePort = 8080

// edgeAddress is that of a cluster's ingress gateway.
func edgeAddress(c *testbed.Cluster) netip.Addr { return c.Host(20) }

// edgeHost is what those call who reach a Service through an ingress gateway.
func (s *shop) edgeHost(app string) string { return app + "." + s.namespace + ".example.com" }

// edge returns what lets the ingress gateway of a cluster take requests for a Service: the first port of it alone.
func (s *shop) edge(c *testbed.Cluster, app string) string {
	return strings.NewReplacer("APP", app, "HOST", s.edgeHost(app), "PORT", strconv.Itoa(edgePort), "ADDRESS", edgeAddress(c).String()).Replace(`
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: APP-edge}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: PORT, name: http, protocol: HTTP}, bind: ADDRESS, hosts: [HOST]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: APP-edge}
spec:
  hosts: [HOST]
  gateways: [APP-edge]
  http: [{route: [{destination: {host: APP, port: {number: 9080}}}]}]
`)
}

// newNamespace makes a namespace in every cluster. Nothing deletes it before the clusters go.
func newNamespace(t *testing.T, m *testbed.Mesh, name string) {
	t.Helper()
	for _, c := range m.Clusters {
		apply(t, c, "", "{apiVersion: v1, kind: Namespace, metadata: {name: "+name+"}}")
	}
}

// newShop makes a shop in namespaces of its own.
func newShop(t *testing.T, m *testbed.Mesh, localities map[string]string, apps ...string) *shop {
	t.Helper()
	hash := fnv.New32()
	hash.Write([]byte(t.Name())) // it does not fail
	name := fmt.Sprintf("shop-%x", hash.Sum32())
	s := &shop{
		mesh: m, namespace: name, callers: name + "-clients", localities: localities,
		servers: map[string]map[string]*testbed.Server{}, clients: map[string]*testbed.Client{},
	}
	newNamespace(t, m, s.namespace)
	newNamespace(t, m, s.callers)
	for _, c := range m.Primaries() {
		for _, app := range apps {
			apply(t, c, s.namespace, s.edge(c, app))
		}
	}
	for _, c := range m.Clusters {
		s.servers[c.Name] = map[string]*testbed.Server{}
		for _, app := range apps {
			apply(t, c, s.namespace, service(app))
			server, err := m.Serve(t.Context(), testbed.ServerOptions{Cluster: c, Namespace: s.namespace, App: app, Version: "v1"})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(server.Stop)
			s.servers[c.Name][app] = server
		}
		client, err := m.Client(testbed.ClientOptions{Cluster: c, Namespace: s.callers, Locality: localities[c.Name]})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(client.Close)
		s.clients[c.Name] = client
	}
	return s
}

func (s *shop) host(app string) string { return app + "." + s.namespace + ".svc.cluster.local" }

func (s *shop) request(app string) testbed.Request { return testbed.Request{Service: s.host(app)} }

// decided waits until an app is reached, and then until istiod, asked as a sidecar and as a gateway of that cluster,
// gives the same result for the fence.
func (s *shop) decided(t *testing.T, app string, from *testbed.Cluster, fence policy.Fence, result xds.Result, want ...string) {
	t.Helper()
	s.reached(t, app, from, want...)
	for _, proxy := range []xds.Proxy{
		{Kind: xds.Sidecar, Namespace: s.callers},
		{Kind: xds.Gateway, Namespace: "istio-system", Labels: map[string]string{"istio": "ingressgateway"}},
	} {
		proxy.Cluster, proxy.Locality = from.Name, s.localities[from.Name]
		err := testbed.Eventually(t.Context(), 10*time.Second, func(ctx context.Context) error {
			return s.verify(ctx, app, proxy, fence, result)
		})
		if err != nil {
			t.Fatalf("verify as %s of %s: %v", proxy.Kind, from.Name, err)
		}
	}
}

// reached waits until calls from a cluster, in every way there is to a Service, are answered by the clusters given, or
// fail with the gRPC codes given.
func (s *shop) reached(t *testing.T, app string, from *testbed.Cluster, want ...string) {
	t.Helper()
	for _, port := range ports() {
		s.answers(t, from, s.clients, testbed.Request{Service: s.host(app), Port: port}, want...)
	}
	if s.edges == nil {
		return
	}
	s.answers(t, from, s.edges, testbed.Request{Service: s.edgeHost(app), Port: edgePort}, want...)
	s.answers(t, from, s.clients, testbed.Request{Service: s.host(app), Port: tcpPort}, want...)
}

// answers waits until calls of one of the clients are answered by the clusters given, or fail with the gRPC codes given.
func (s *shop) answers(t *testing.T, from *testbed.Cluster, clients map[string]*testbed.Client, r testbed.Request, want ...string) {
	t.Helper()
	if _, err := clients[from.Name].Expect(t.Context(), r, calls, want...); err != nil {
		t.Fatalf("from %s, port %d: %v", from.Name, r.Port, err)
	}
}

// everywhere is decided for the clients of every cluster: answers come from both clusters.
func (s *shop) everywhere(t *testing.T, app string) {
	t.Helper()
	for _, c := range s.mesh.Clusters {
		s.decided(t, app, c, policy.Strict, xds.Leaks, testbed.FirstCluster, testbed.SecondCluster)
	}
}

// atHome is decided for the clients of every cluster: reviews answers from their own.
func (s *shop) atHome(t *testing.T, fence policy.Fence) {
	t.Helper()
	for _, c := range s.mesh.Clusters {
		s.decided(t, "reviews", c, fence, xds.Held, c.Name)
	}
}

// failsClosed is decided with reviews of the last cluster down: calls from there fail and do not leave.
func (s *shop) failsClosed(t *testing.T) {
	t.Helper()
	c := s.mesh.Clusters[len(s.mesh.Clusters)-1]
	s.down(t, c, "reviews")
	s.decided(t, "reviews", c, policy.Strict, xds.Empty, "Unavailable")
	s.up(t, c, "reviews")
	s.decided(t, "reviews", c, policy.Strict, xds.Held, c.Name)
}

// verify compares what istiod would send a proxy with what is expected.
func (s *shop) verify(ctx context.Context, app string, proxy xds.Proxy, fence policy.Fence, want xds.Result) error {
	return s.verifyHost(ctx, s.host(app), proxy, fence, want)
}

// verifyHost does the same for any host.
func (s *shop) verifyHost(ctx context.Context, fqdn string, proxy xds.Proxy, fence policy.Fence, want xds.Result) error {
	report, err := s.report(ctx, fqdn, proxy, fence)
	if err == nil && (report.Result != want || !report.Known) {
		err = fmt.Errorf("want %s, got %+v", want, report)
	}
	return err
}

// report asks istiod about a host.
func (s *shop) report(ctx context.Context, fqdn string, proxy xds.Proxy, fence policy.Fence) (xds.Report, error) {
	client, err := xds.Dial(xds.Options{Address: s.mesh.XDS(s.mesh.Cluster(proxy.Cluster)), Plaintext: true})
	if err != nil {
		return xds.Report{}, err
	}
	defer client.Close()
	snapshot, err := client.Fetch(ctx, proxy)
	if err != nil {
		return xds.Report{}, err
	}
	addresses := xds.Addresses{}
	for _, c := range s.mesh.Clusters {
		addresses[netip.PrefixFrom(c.Host(0), 16)] = c.Name
	}
	return xds.Verify(snapshot, []xds.Host{{FQDN: fqdn, Fence: fence}}, xds.Rules{Addresses: addresses})[0], nil
}

func (s *shop) down(t *testing.T, c *testbed.Cluster, app string) {
	t.Helper()
	if err := s.servers[c.Name][app].Down(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (s *shop) up(t *testing.T, c *testbed.Cluster, app string) {
	t.Helper()
	if err := s.servers[c.Name][app].Up(t.Context()); err != nil {
		t.Fatal(err)
	}
}
