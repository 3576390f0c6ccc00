package xds_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/test/testbed"
	"github.com/meshfence/meshfence/xds"
)

// patience is how long a change may take to reach istiod's clients on a busy machine.
const patience = 30 * time.Second

// The Gateways of these tests, by the value of the label that they select.
const (
	ingress  = "ingressgateway"
	eastWest = "eastwestgateway"
)

// suite is a namespace of a mesh, whose Service reviews has a Pod in each cluster. No traffic flows: what counts is
// what istiod says.
type suite struct {
	mesh      *testbed.Mesh
	namespace string
	pods      map[string]netip.Addr // by cluster
}

// service has an HTTP and a TCP port.
const service = `
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec:
  selector: {app: reviews}
  ports: [{name: http, port: 9080}, {name: tcp, port: 9090}]
`

// gateway lets HTTP for reviews.example.com in, and whatever asks for a Service by SNI.
const gateway = `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: ingress}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 8080, name: http, protocol: HTTP}, hosts: [NAMESPACE.example.com]}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: east-west}
spec:
  selector: {istio: eastwestgateway}
  servers: [{port: {number: 15443, name: tls, protocol: TLS}, tls: {mode: AUTO_PASSTHROUGH}, hosts: ["*.NAMESPACE.svc.cluster.local"]}]
`

// routes is the VirtualService of the ingress gateway.
const routes = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ingress}
spec:
  hosts: [NAMESPACE.example.com]
  gateways: [ingress]
  http: [{name: page, route: [{destination: {host: reviews, port: {number: 9080}}}]}]
`

// newSuite makes namespace number n of a mesh. Nothing listens at the addresses of its Pods.
func newSuite(t *testing.T, m *testbed.Mesh, name string, n int) *suite {
	t.Helper()
	s := &suite{mesh: m, namespace: name, pods: map[string]netip.Addr{}}
	for _, c := range m.Clusters {
		if err := c.Apply(t.Context(), "{apiVersion: v1, kind: Namespace, metadata: {name: "+name+"}}"); err != nil {
			t.Fatal(err)
		}
		s.applyTo(t, c, service)
		// An east-west gateway passes on to Pods with a sidecar alone.
		podLabels := map[string]string{"app": "reviews", "security.istio.io/tlsMode": "istio"}
		s.pods[c.Name] = c.Host(10 + n)
		if err := c.CreatePod(t.Context(), name, "reviews", s.pods[c.Name], podLabels); err != nil {
			t.Fatal(err)
		}
	}
	s.apply(t, gateway)
	s.apply(t, routes)
	return s
}

// apply applies Istio objects wherever istiod reads them.
func (s *suite) apply(t *testing.T, manifests string) {
	t.Helper()
	for _, c := range s.mesh.Primaries() {
		s.applyTo(t, c, manifests)
	}
}

func (s *suite) applyTo(t *testing.T, c *testbed.Cluster, manifests string) {
	t.Helper()
	if err := c.Apply(t.Context(), strings.ReplaceAll(manifests, "NAMESPACE", s.namespace), "-n", s.namespace); err != nil {
		t.Fatal(err)
	}
}

func (s *suite) host() string { return "reviews." + s.namespace + ".svc.cluster.local" }

// fenceByMeshConfig makes the host cluster-local in every control plane, until the test ends.
func (s *suite) fenceByMeshConfig(t *testing.T) {
	t.Helper()
	s.editMesh(t, "serviceSettings: [{settings: {clusterLocal: true}, hosts: ["+s.host()+"]}]\n")
}

// editMesh adds to every mesh config, until the test ends.
func (s *suite) editMesh(t *testing.T, text string) {
	t.Helper()
	t.Cleanup(func() {
		for _, c := range s.mesh.Primaries() {
			// The context of the test has ended by now.
			if err := c.InstallMeshConfig(context.Background()); err != nil {
				t.Error(err)
			}
		}
	})
	for _, c := range s.mesh.Primaries() {
		if err := c.EditMeshConfig(t.Context(), func(mesh string) string { return mesh + text }); err != nil {
			t.Fatal(err)
		}
	}
}

func (s *suite) sidecar(cluster string) xds.Proxy {
	return xds.Proxy{Cluster: cluster, Kind: xds.Sidecar, Namespace: s.namespace, DNSCapture: true}
}

func (s *suite) gateway(cluster, istio string) xds.Proxy {
	return xds.Proxy{Cluster: cluster, Kind: xds.Gateway, Namespace: "istio-system", Labels: map[string]string{"istio": istio}}
}

// verify asks the istiod that serves a client's cluster.
func (s *suite) verify(ctx context.Context, proxy xds.Proxy, fence policy.Fence, rules xds.Rules) (xds.Report, error) {
	client, err := xds.Dial(xds.Options{Address: s.mesh.XDS(s.mesh.Cluster(proxy.Cluster)), Plaintext: true})
	if err != nil {
		return xds.Report{}, err
	}
	defer client.Close()
	snapshot, err := client.Fetch(ctx, proxy)
	if err != nil {
		return xds.Report{}, err
	}
	return xds.Verify(snapshot, []xds.Host{{FQDN: s.host(), Fence: fence}}, rules)[0], nil
}

// expect waits for a result with just the leaks given.
func (s *suite) expect(t *testing.T, proxy xds.Proxy, result xds.Result, leaks ...xds.Path) xds.Report {
	t.Helper()
	return s.expectBy(t, proxy, policy.Strict, xds.Rules{}, result, leaks...)
}

func (s *suite) expectBy(
	t *testing.T, proxy xds.Proxy, fence policy.Fence, rules xds.Rules, result xds.Result, leaks ...xds.Path,
) xds.Report {
	t.Helper()
	var report xds.Report
	err := testbed.Eventually(t.Context(), patience, func(ctx context.Context) error {
		var err error
		if report, err = s.verify(ctx, proxy, fence, rules); err != nil {
			return err
		}
		if report.Result != result {
			return fmt.Errorf("want %s, got %s", result, indent(report))
		}
		return sameLeaks(report, leaks)
	})
	if err != nil {
		t.Fatalf("%s of %s: %v", proxy.Kind, proxy.Cluster, err)
	}
	return report
}

// sameLeaks compares paths without regard to order.
func sameLeaks(report xds.Report, want []xds.Path) error {
	missing := map[xds.Path]bool{}
	for _, path := range want {
		missing[path] = true
	}
	for _, leak := range report.Leaks {
		if !missing[leak.Path] {
			return fmt.Errorf("an unexpected leak %+v in %s", leak.Path, indent(report))
		}
		delete(missing, leak.Path)
	}
	if len(missing) > 0 {
		return fmt.Errorf("not found: %+v in %s", missing, indent(report))
	}
	return nil
}

func indent(value any) string {
	encoded, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err.Error()
	}
	return string(encoded)
}
