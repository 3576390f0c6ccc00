package conformance_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/test/testbed"
	"github.com/meshfence/meshfence/xds"
)

// verify judges what the clients of a case get, and returns the worst report.
func (s *scene) verify(ctx context.Context, fqdn string) (xds.Report, error) {
	host, err := s.target(ctx, fqdn)
	if err != nil {
		return xds.Report{}, err
	}
	severity := []xds.Result{xds.Held, xds.Empty, xds.Leaks}
	var worst xds.Report
	for _, proxy := range s.proxies() {
		snapshot, err := s.fetch(ctx, proxy)
		if err != nil {
			return worst, err
		}
		snapshot.Proxy.Cluster = testbed.FirstCluster // where it is, whatever it claims
		report := xds.Verify(snapshot, []xds.Host{host}, s.places())[0]
		if s.leaves(snapshot) || s.noted(report) {
			report.Result = xds.Leaks
		}
		if slices.Index(severity, report.Result) > slices.Index(severity, worst.Result) {
			worst = report
		}
	}
	return worst, nil
}

// proxies returns the client of a case. A sidecar may or may not answer DNS queries of its Pod, which makes others
// of the addresses that it knows.
func (s *scene) proxies() []xds.Proxy {
	if s.proxy.Kind == xds.Gateway {
		return []xds.Proxy{s.proxy}
	}
	capturing := s.proxy
	capturing.DNSCapture = true
	return []xds.Proxy{s.proxy, capturing}
}

// places returns where addresses are, which counts as much as what istiod says of them.
func (b *bed) places() xds.Rules {
	addresses := xds.Addresses{}
	for _, c := range b.Clusters {
		addresses[netip.PrefixFrom(c.Host(0), 16)] = c.Name
	}
	return xds.Rules{Addresses: addresses}
}

// target returns a host with what its Service in the first cluster says, where there is one: its clients dial that.
func (s *scene) target(ctx context.Context, fqdn string) (xds.Host, error) {
	host := xds.Host{FQDN: fqdn, Fence: policy.Strict}
	name, rest, _ := strings.Cut(fqdn, ".")
	namespace, _, _ := strings.Cut(rest, ".")
	services := s.clients[s.Clusters[0]].Resource(schema.GroupVersionResource{Version: "v1", Resource: "services"})
	service, err := services.Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return host, nil
	}
	if err != nil {
		return host, fmt.Errorf("the Service of %s: %w", fqdn, err)
	}
	clusterIP, _, _ := unstructured.NestedString(service.Object, "spec", "clusterIP")
	if address, err := netip.ParseAddr(clusterIP); err == nil {
		host.Addresses = []netip.Addr{address}
	}
	ports, _, _ := unstructured.NestedSlice(service.Object, "spec", "ports")
	for _, port := range ports {
		number, _, _ := unstructured.NestedInt64(port.(map[string]any), "port")
		host.Ports = append(host.Ports, uint16(number))
	}
	return host, nil
}

// leaves reports whether one of the connections that the case asks for leaves the cluster.
func (s *scene) leaves(snapshot *xds.Snapshot) bool {
	return slices.ContainsFunc(s.Probes, func(p probe) bool {
		outcomes := snapshot.Resolve(xds.Probe{
			Address: netip.MustParseAddrPort(s.text(p.To)), Protocol: p.protocol(), Host: s.text(p.Host), SNI: s.text(p.SNI),
		}, s.places())
		return slices.ContainsFunc(outcomes, func(o xds.Outcome) bool { return o.Verdict == xds.Leaves })
	})
}

func (p probe) protocol() xds.Protocol {
	switch {
	case p.SNI != "":
		return xds.TLS
	case p.Host != "":
		return xds.HTTP
	}
	return xds.TCP
}

// noted reports whether verify notes what the case is about.
func (s *scene) noted(report xds.Report) bool {
	return s.Note != "" && slices.ContainsFunc(report.Notes, func(note string) bool { return strings.Contains(note, s.Note) })
}
