package xds_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/test/testbed"
	"github.com/meshfence/meshfence/xds"
)

// foreign is a Service with Pods in both clusters, to which other objects send what is meant for reviews.
const foreign = `
apiVersion: v1
kind: Service
metadata: {name: other}
spec: {selector: {app: reviews}, ports: [{name: http, port: 9080}, {name: tcp, port: 9090}]}
`

// Objects of the clients' namespace, with which the rows are made.
const (
	importsOther = `
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: CALLERS}
spec:
  egress: [{hosts: [NAMESPACE/other.NAMESPACE.svc.cluster.local]}]
`
	importsAll = `
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: CALLERS}
spec:
  egress: [{hosts: ["*/*"]}]
`
	importsOwn = `
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: CALLERS}
spec:
  egress: [{hosts: [./*]}]
---
`
	egressProxy = "  outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: other.NAMESPACE.svc.cluster.local, port: {number: 9080}}}\n"
)

// entry is a ServiceEntry whose one endpoint is in the other cluster.
func entry(host string, port int, protocol string) string {
	return fmt.Sprintf(`
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: entry, namespace: CALLERS, labels: {networking.istio.io/enable-autoallocate-ip: "false"}}
spec:
  exportTo: [.]
  hosts: [%q]
  resolution: STATIC
  ports: [{number: %d, name: port, protocol: %s}]
  endpoints: [{address: FOREIGN}]
`, host, port, protocol)
}

// testRows shows connections to a host that mesh config holds leave by objects that do not name it (ISTIO's own
// behaviour, for which the guard answers), and what is like them and harmless.
func testRows(t *testing.T, s *suite) {
	tests := map[string]struct {
		objects string
		// probes are connections that leave; none where all is held.
		probes  []string
		gateway bool
		// without and with are clusters that the client has lost and got when the objects count.
		without, with string
	}{
		"hidden": {objects: importsOther, without: "outbound|9080||reviews.NAMESPACE.svc.cluster.local"},
		"hidden, egress proxy": {
			objects: importsOther + egressProxy,
			probes:  []string{"tcp ADDRESS:9090", "tcp ADDRESS:9080", "http ADDRESS:9080 Host reviews.NAMESPACE", "http ADDRESS:9080 Host ADDRESS:9080"},
		},
		"egress proxy": {objects: importsAll + egressProxy, probes: []string{"tcp ADDRESS:9080"}},
		"hidden, TCP on its port": {
			objects: importsOwn + entry("db.example.com", 9090, "TCP"), probes: []string{"tcp ADDRESS:9090"},
		},
		"TCP on its TCP port":  {objects: entry("db.example.com", 9090, "TCP"), with: "outbound|9090||db.example.com"},
		"TCP on its HTTP port": {objects: entry("db.example.com", 9080, "TCP"), probes: []string{"tcp ADDRESS:9080"}},
		"hidden, short wildcard": {
			objects: importsOwn + entry("*.NAMESPACE", 9080, "HTTP"), probes: []string{"http ADDRESS:9080 Host reviews.NAMESPACE"},
		},
		// Where the host is known, its own virtual host has no short name with a closing dot, and the wildcard's takes it.
		"short wildcard": {
			objects: entry("*.NAMESPACE", 9080, "HTTP"), with: "outbound|9080||*.NAMESPACE",
			probes: []string{"http ADDRESS:9080 Host reviews.NAMESPACE."},
		},
		"Sidecar port": {
			objects: strings.Replace(importsAll, "egress: [", "egress: [{port: {number: 9080, protocol: TCP, name: tcp}, hosts: [./db.example.com]}, ", 1) +
				"---" + entry("db.example.com", 9080, "TCP"),
			probes: []string{"http ADDRESS:9080 Host reviews.NAMESPACE.svc.cluster.local"},
		},
		"address as a name": {
			objects: `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ip, namespace: CALLERS}
spec:
  hosts: [ADDRESS, other.NAMESPACE.svc.cluster.local]
  http: [{route: [{destination: {host: other.NAMESPACE.svc.cluster.local}}]}]
`,
			probes: []string{"http ADDRESS:9080 Host ADDRESS:9080"},
		},
		"SNI at an east-west gateway": {
			gateway: true,
			objects: `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: ew, namespace: CALLERS}
spec:
  selector: {istio: eastwestgateway}
  servers: [{port: {number: 15444, name: tls, protocol: TLS}, tls: {mode: PASSTHROUGH}, hosts: ["*.local"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: sni, namespace: CALLERS}
spec:
  hosts: [outbound_.9080_._.reviews.NAMESPACE.svc.cluster.local]
  gateways: [ew]
  tls:
  - match: [{port: 15444, sniHosts: [outbound_.9080_._.reviews.NAMESPACE.svc.cluster.local]}]
    route: [{destination: {host: other.NAMESPACE.svc.cluster.local, port: {number: 9080}}}]
`,
			probes: []string{"tls 0.0.0.0:15444 SNI outbound_.9080_._.reviews.NAMESPACE.svc.cluster.local"},
		},
	}
	n := 40 // beyond the suites that are beside this one
	for name, test := range tests {
		n++
		t.Run(name, func(t *testing.T) {
			r := newRow(t, s.mesh, n)
			if test.gateway {
				r.client = r.suite.gateway(testbed.FirstCluster, eastWest)
			}
			r.expectProbes(t, nil, "", "")
			r.apply(t, r.text(test.objects))
			r.expectProbes(t, test.probes, r.text(test.without), r.text(test.with))
		})
	}
}

// row is a suite whose clients are in a namespace of their own.
type row struct {
	*suite
	callers string
	host    xds.Host
	client  xds.Proxy
	rules   xds.Rules
}

func newRow(t *testing.T, m *testbed.Mesh, n int) *row {
	t.Helper()
	name := fmt.Sprintf("row-%d", n)
	r := &row{suite: newSuite(t, m, name, n), callers: name + "-clients"}
	for _, c := range m.Clusters {
		r.applyTo(t, c, "{apiVersion: v1, kind: Namespace, metadata: {name: "+r.callers+"}}")
		r.applyTo(t, c, foreign)
	}
	r.fenceByMeshConfig(t)
	address, _, err := m.Cluster(testbed.FirstCluster).Kubectl(t.Context(), "",
		"get", "service", "reviews", "-n", name, "-o", "jsonpath={.spec.clusterIP}")
	if err != nil {
		t.Fatal(err)
	}
	r.host = xds.Host{
		FQDN: r.suite.host(), Fence: policy.Strict, Addresses: []netip.Addr{netip.MustParseAddr(address)}, Ports: []uint16{9080, 9090},
	}
	r.client = xds.Proxy{Cluster: testbed.FirstCluster, Kind: xds.Sidecar, Namespace: r.callers, DNSCapture: true}
	r.rules = xds.Rules{Addresses: xds.Addresses{netip.MustParsePrefix("10.1.0.0/16"): "m1c1", netip.MustParsePrefix("10.2.0.0/16"): "m1c2"}}
	return r
}

func (r *row) text(of string) string {
	return strings.NewReplacer("CALLERS", r.callers, "NAMESPACE", r.namespace,
		"ADDRESS", r.host.Addresses[0].String(), "FOREIGN", r.pods[testbed.SecondCluster].String()).Replace(of)
}

// apply applies objects that name their namespaces.
func (r *row) apply(t *testing.T, objects string) {
	t.Helper()
	for _, c := range r.mesh.Primaries() {
		if err := c.Apply(t.Context(), objects); err != nil {
			t.Fatal(err)
		}
	}
}

// expectProbes waits until each of these connections leaves, or none does, for a client without one cluster and with
// another.
func (r *row) expectProbes(t *testing.T, probes []string, without, with string) {
	t.Helper()
	err := testbed.Eventually(t.Context(), patience, func(ctx context.Context) error {
		client, err := xds.Dial(xds.Options{Address: r.mesh.XDS(r.mesh.Cluster(testbed.FirstCluster)), Plaintext: true})
		if err != nil {
			return err
		}
		defer client.Close()
		snapshot, err := client.Fetch(ctx, r.client)
		if err != nil {
			return err
		}
		if snapshot.Clusters[without] != nil || with != "" && snapshot.Clusters[with] == nil {
			return fmt.Errorf("want no cluster %q and a cluster %q", without, with)
		}
		report := xds.Verify(snapshot, []xds.Host{r.host}, r.rules)[0]
		if report.Probes == 0 || (len(probes) == 0) != (report.Result == xds.Held) {
			return fmt.Errorf("want leaks %v by probes, got %s", probes, indent(report))
		}
		resolver := xds.NewResolver(snapshot, r.rules)
		for _, text := range probes {
			outcomes := resolver.Resolve(parseProbe(t, r.text(text)))
			leaves := slices.ContainsFunc(outcomes, func(o xds.Outcome) bool { return o.Verdict == xds.Leaves })
			if !leaves {
				return fmt.Errorf("%s: want it to leave, got %s", r.text(text), indent(outcomes))
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// parseProbe reads what a Leak says of its probe.
func parseProbe(t *testing.T, text string) xds.Probe {
	t.Helper()
	words := strings.Fields(text)
	probe := xds.Probe{Protocol: xds.Protocol(words[0]), Address: netip.MustParseAddrPort(words[1])}
	for i := 2; i+1 < len(words); i += 2 {
		switch words[i] {
		case "Host":
			probe.Host = words[i+1]
		case "SNI":
			probe.SNI = words[i+1]
		default:
			t.Fatalf("unknown word %q", words[i])
		}
	}
	return probe
}
