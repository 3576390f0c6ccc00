package traffic_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/test/testbed"
	"github.com/meshfence/meshfence/xds"
)

// What the sidecar of TestEnvoyResolves is configured from: reviews, which it knows, hidden, which it does not import,
// and ServiceEntries of its own namespace, whose endpoints are in the other cluster.
const (
	resolveServices = `
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: NAMESPACE}
spec:
  clusterIP: CLUSTERIP.1
  selector: {app: reviews}
  ports: [{name: http, port: 9080}, {name: tcp, port: 9090}, {name: tls, port: 9443}, {name: sniffed, port: 9100}]
---
apiVersion: v1
kind: Service
metadata: {name: hidden, namespace: NAMESPACE}
spec: {clusterIP: CLUSTERIP.2, selector: {app: reviews}, ports: [{name: http, port: 9080}, {name: tcp, port: 9095}, {name: other, port: 9096}]}
`
	resolveObjects = testbed.DialledFilter + `
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default}
spec: {egress: [{hosts: [./*, NAMESPACE/reviews.NAMESPACE.svc.cluster.local]}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: tcp, labels: {networking.istio.io/enable-autoallocate-ip: "false"}}
spec:
  hosts: [tcp.example.com]
  resolution: STATIC
  ports: [{number: 9095, name: tcp, protocol: TCP}]
  endpoints: [{address: FOREIGN}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: short}
spec:
  hosts: ["*.NAMESPACE"]
  resolution: STATIC
  ports: [{number: 9080, name: http, protocol: HTTP}]
  endpoints: [{address: FOREIGN}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews.NAMESPACE.svc.cluster.local]
  tls:
  - match: [{port: 9443, sniHosts: [reviews.NAMESPACE.svc.cluster.local]}]
    route: [{destination: {host: tcp.example.com, port: {number: 9095}}}]
`
)

// TestEnvoyResolves sends the connections that verify follows through a real sidecar, configured as behind iptables,
// and through the resolver: both must end at the same places.
func TestEnvoyResolves(t *testing.T) {
	if !*withEnvoy {
		t.Skip("without -envoy nothing goes through Envoy")
	}
	m := startMesh(t, testbed.MeshOptions{Envoy: true})
	const namespace, callers = "resolve", "resolve-clients"
	newNamespace(t, m, namespace)
	newNamespace(t, m, callers)
	var pods []netip.Addr
	for i, c := range m.Clusters {
		pod := c.Host(30)
		pods = append(pods, pod)
		if err := c.CreatePod(t.Context(), namespace, "reviews", pod, map[string]string{"app": "reviews"}); err != nil {
			t.Fatal(err)
		}
		clusterIP := fmt.Sprintf("10.%d.77", 101+i)
		apply(t, c, namespace, strings.NewReplacer("NAMESPACE", namespace, "CLUSTERIP", clusterIP).Replace(resolveServices))
	}
	first := m.Cluster(testbed.FirstCluster)
	apply(t, first, callers, strings.NewReplacer("NAMESPACE", namespace, "FOREIGN", m.Clusters[1].Host(31).String()).Replace(resolveObjects))

	reviews, hidden := netip.MustParseAddr("10.101.77.1"), netip.MustParseAddr("10.101.77.2")
	ports := []uint16{9080, 9090, 9443, 9100, 9095, 9096}
	var places []netip.AddrPort
	for _, address := range append([]netip.Addr{reviews, hidden, m.Clusters[1].Host(31)}, pods...) {
		for _, port := range ports {
			places = append(places, netip.AddrPortFrom(address, port))
		}
	}
	served, err := testbed.ServePlaces(t.Context(), places...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(served.Stop)
	hosts := []xds.Host{
		{FQDN: "reviews." + namespace + ".svc.cluster.local", Fence: policy.Strict, Addresses: []netip.Addr{reviews}, Ports: []uint16{9080, 9090, 9443, 9100}},
		{FQDN: "hidden." + namespace + ".svc.cluster.local", Fence: policy.Strict, Addresses: []netip.Addr{hidden}, Ports: []uint16{9080, 9095, 9096}},
	}
	snapshot := resolveSnapshot(t, m, first, callers, hosts[0].FQDN)
	envoy := startEnvoy(t, m, testbed.EnvoyOptions{Redirected: true, ClientOptions: testbed.ClientOptions{
		Cluster: first, Namespace: callers, Address: first.Host(32),
	}})
	r := resolving{envoy: envoy, resolver: xds.NewResolver(snapshot, xds.Rules{})}
	for _, host := range hosts {
		for probe := range snapshot.Probes(host) {
			r.compare(t, probe)
		}
	}
	t.Logf("%d connections; they ended at %v", r.probes, slices.Sorted(maps.Keys(r.ends)))
	for _, want := range []string{"", reviews.String(), hidden.String(), pods[0].String(), pods[1].String(), m.Clusters[1].Host(31).String()} {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(r.ends)), func(end string) bool { return strings.HasPrefix(end, want) }) {
			t.Errorf("nothing ended at %q", want)
		}
	}
}

// resolveSnapshot returns what istiod gives the sidecar, once it has all that the test makes.
func resolveSnapshot(t *testing.T, m *testbed.Mesh, c *testbed.Cluster, namespace, host string) *xds.Snapshot {
	t.Helper()
	client, err := xds.Dial(xds.Options{Address: m.XDS(c), Plaintext: true})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var snapshot *xds.Snapshot
	err = testbed.Eventually(t.Context(), 30*time.Second, func(ctx context.Context) error {
		proxy := xds.Proxy{Cluster: c.Name, Kind: xds.Sidecar, Namespace: namespace, IP: c.Host(32).String()}
		if snapshot, err = client.Fetch(ctx, proxy); err != nil {
			return err
		}
		if snapshot.Clusters["outbound|9080||*.resolve"] == nil || snapshot.Clusters["outbound|9095||tcp.example.com"] == nil {
			return errors.New("not all clusters have come")
		}
		endpoints := 0
		for _, locality := range snapshot.Endpoints["outbound|9080||"+host].GetEndpoints() {
			endpoints += len(locality.GetLbEndpoints())
		}
		if endpoints != len(m.Clusters) {
			return fmt.Errorf("%s has %d endpoints", host, endpoints)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return snapshot
}

// resolving compares a proxy and a resolver.
type resolving struct {
	envoy    *testbed.Envoy
	resolver *xds.Resolver
	probes   int
	ends     map[string]int
}

// compare makes a connection until it has ended at every place that the resolver names; it must end at no other.
func (r *resolving) compare(t *testing.T, probe xds.Probe) {
	t.Helper()
	r.probes++
	if r.ends == nil {
		r.ends = map[string]int{}
	}
	want := map[string]bool{}
	outcomes := r.resolver.Resolve(probe)
	for _, outcome := range outcomes {
		if outcome.Verdict == xds.Nowhere {
			want[""] = true
		}
		for _, endpoint := range outcome.Endpoints {
			want[endpoint.Address] = true
		}
	}
	got := map[string]bool{}
	// One of two endpoints is missed once in 2^39.
	for range calls {
		end, err := r.call(t.Context(), probe)
		if !want[end] {
			t.Errorf("%+v: want one of %v, got %q (%v); the resolver says %+v", probe, slices.Sorted(maps.Keys(want)), end, err, outcomes)
			return
		}
		got[end] = true
		if len(got) == len(want) {
			r.ends[end]++
			return
		}
	}
	t.Errorf("%+v: want all of %v, got %v", probe, slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got)))
}

// call returns the address at which a connection is answered, and the empty string where it is not.
func (r *resolving) call(ctx context.Context, probe xds.Probe) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if probe.Protocol == xds.HTTP || probe.Protocol == xds.HTTP2 {
		return r.request(ctx, probe)
	}
	connection, err := r.envoy.Dial(ctx, probe.Address)
	if err != nil {
		return "", err
	}
	defer connection.Close()
	if err := connection.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return "", err
	}
	said := []byte("neither HTTP nor TLS\n")
	if probe.Protocol == xds.TLS {
		if said, err = hello(probe); err != nil {
			return "", err
		}
	}
	if _, err := connection.Write(said); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(connection).ReadString('\n')
	if _, parseErr := netip.ParseAddrPort(strings.TrimSpace(line)); parseErr != nil {
		return "", fmt.Errorf("answer %q: %w", line, errors.Join(err, parseErr))
	}
	return strings.TrimSpace(line), nil
}

func (r *resolving) request(ctx context.Context, probe xds.Probe) (string, error) {
	protocols := &http.Protocols{}
	protocols.SetHTTP1(probe.Protocol == xds.HTTP)
	protocols.SetUnencryptedHTTP2(probe.Protocol == xds.HTTP2)
	transport := &http.Transport{Protocols: protocols, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return r.envoy.Dial(ctx, probe.Address)
	}}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+probe.Address.String()+"/", nil)
	if err != nil {
		return "", err
	}
	request.Host = probe.Host
	response, err := transport.RoundTrip(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("status %d: %w", response.StatusCode, err)
	}
	return string(body), nil
}

// hello returns a ClientHello.
func hello(probe xds.Probe) ([]byte, error) {
	near, far := net.Pipe()
	defer near.Close()
	config := &tls.Config{ServerName: probe.SNI, NextProtos: probe.ALPN, InsecureSkipVerify: true}
	go func() { _ = tls.Client(far, config).Handshake() }() // it fails when the other end closes
	header := make([]byte, 5)
	if _, err := io.ReadFull(near, header); err != nil {
		return nil, err
	}
	record := make([]byte, int(header[3])<<8|int(header[4]))
	_, err := io.ReadFull(near, record)
	return append(header, record...), err
}
