package traffic_test

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/test/testbed"
	"github.com/meshfence/meshfence/xds"
)

// calls is how many calls decide who answers. Of an even balance they miss one side once in 2^39.
const calls = 40

// startMesh starts a mesh that the test's end stops. One runs at a time.
func startMesh(t *testing.T, o testbed.MeshOptions) *testbed.Mesh {
	t.Helper()
	m, err := testbed.StartMesh(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(m.Logs(20))
		}
		m.Stop()
	})
	return m
}

// newNamespace makes one namespace with the same name in every cluster. Nothing deletes it before the clusters go.
func newNamespace(t *testing.T, m *testbed.Mesh) string {
	t.Helper()
	name := strings.ToLower(strings.Map(func(r rune) rune {
		if r == '/' || r == '_' || r == ',' {
			return '-'
		}
		return r
	}, t.Name()))
	name = strings.Trim(name[max(0, len(name)-50):], "-")
	for _, c := range m.Clusters {
		apply(t, c, "", "{apiVersion: v1, kind: Namespace, metadata: {name: "+name+"}}")
	}
	return name
}

// service returns a Service as Bookinfo has them.
func service(app string) string {
	return fmt.Sprintf("{apiVersion: v1, kind: Service, metadata: {name: %[1]s, labels: {app: %[1]s}}, "+
		"spec: {selector: {app: %[1]s}, ports: [{name: http, port: 9080}]}}", app)
}

// pages sends each page to the productpage of its cluster. Its gateway mesh is where the client that stands for the
// ingress gateway is.
const pages = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: productpage-cluster-local}
spec:
  host: productpage
  subsets:
  - {name: m1c1, labels: {cluster: m1c1}}
  - {name: m1c2, labels: {cluster: m1c2}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: bookinfo}
spec:
  hosts: [productpage]
  gateways: [mesh]
  http:
  - match: [{uri: {prefix: /productpage1}}]
    rewrite: {uri: /productpage}
    route: [{destination: {host: productpage, subset: m1c1}}]
  - match: [{uri: {prefix: /productpage2}}]
    rewrite: {uri: /productpage}
    route: [{destination: {host: productpage, subset: m1c2}}]
`

// reviews is the Service reviews in a namespace of its own, with one server and one client in each cluster.
type reviews struct {
	mesh      *testbed.Mesh
	namespace string
	servers   map[string]*testbed.Server
	clients   map[string]*testbed.Client
}

func newReviews(t *testing.T, m *testbed.Mesh) *reviews {
	t.Helper()
	r := &reviews{mesh: m, namespace: newNamespace(t, m), servers: map[string]*testbed.Server{}, clients: map[string]*testbed.Client{}}
	for _, c := range m.Clusters {
		apply(t, c, r.namespace, service("reviews"))
		server, err := m.Serve(t.Context(), testbed.ServerOptions{
			Cluster: c, Namespace: r.namespace, App: "reviews", Version: "v1",
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(server.Stop)
		client, err := m.Client(testbed.ClientOptions{Cluster: c, Namespace: r.namespace})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(client.Close)
		r.servers[c.Name], r.clients[c.Name] = server, client
	}
	return r
}

func (r *reviews) host() string { return "reviews." + r.namespace + ".svc.cluster.local" }

// decided waits until calls from a cluster are answered by the clusters given, or fail with the codes given, and then
// until istiod, asked as a sidecar and as a gateway of that cluster, gives the same result for the fence.
func (r *reviews) decided(t *testing.T, from *testbed.Cluster, fence policy.Fence, result xds.Result, want ...string) {
	t.Helper()
	if _, err := r.clients[from.Name].Expect(t.Context(), testbed.Request{Service: "reviews"}, calls, want...); err != nil {
		t.Fatalf("from %s: %v", from.Name, err)
	}
	for kind, namespace := range map[xds.Kind]string{xds.Sidecar: r.namespace, xds.Gateway: "istio-system"} {
		proxy := xds.Proxy{Cluster: from.Name, Kind: kind, Namespace: namespace}
		err := testbed.Eventually(t.Context(), 10*time.Second, func(ctx context.Context) error {
			return r.verify(ctx, proxy, fence, result)
		})
		if err != nil {
			t.Fatalf("verify as %s of %s: %v", kind, from.Name, err)
		}
	}
}

// verify compares what istiod would send a proxy with what is expected.
func (r *reviews) verify(ctx context.Context, proxy xds.Proxy, fence policy.Fence, want xds.Result) error {
	client, err := xds.Dial(xds.Options{Address: r.mesh.XDS(r.mesh.Cluster(proxy.Cluster)), Plaintext: true})
	if err != nil {
		return err
	}
	defer client.Close()
	snapshot, err := client.Fetch(ctx, proxy)
	if err != nil {
		return err
	}
	addresses := xds.Addresses{}
	for _, c := range r.mesh.Clusters {
		addresses[netip.PrefixFrom(c.Host(0), 16)] = c.Name
	}
	reports := xds.Verify(snapshot, []xds.Host{{FQDN: r.host(), Fence: fence}}, xds.Rules{Addresses: addresses, ByName: true})
	if reports[0].Result != want {
		return fmt.Errorf("want %s, got %+v", want, reports[0])
	}
	return nil
}

func apply(t *testing.T, c *testbed.Cluster, namespace, manifests string) {
	t.Helper()
	if err := c.Apply(t.Context(), manifests, "-n", cmp.Or(namespace, "default")); err != nil {
		t.Fatalf("%s: %v", c.Name, err)
	}
}

func edit(t *testing.T, c *testbed.Cluster, change func(string) string) {
	t.Helper()
	if err := c.EditMeshConfig(t.Context(), change); err != nil {
		t.Fatal(err)
	}
}

func down(t *testing.T, s *testbed.Server) {
	t.Helper()
	if err := s.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func up(t *testing.T, s *testbed.Server) {
	t.Helper()
	if err := s.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// reset writes the mesh config as an installer does.
func reset(t *testing.T, c *testbed.Cluster) {
	t.Helper()
	if err := c.InstallMeshConfig(t.Context()); err != nil {
		t.Fatal(err)
	}
}
