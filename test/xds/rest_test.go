package xds_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/object"
	"github.com/meshfence/meshfence/test/fixtures"
	"github.com/meshfence/meshfence/test/testbed"
	"github.com/meshfence/meshfence/xds"
)

// The ports of the Service of testRest.
const (
	portHTTP = 9080
	portTCP  = 9090
	portTLS  = 9443
)

const (
	restService = `
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec:
  selector: {app: reviews}
  ports: [{name: http, port: 9080}, {name: tcp, port: 9090}, {name: tls, port: 9443}]
`
	restRule = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  subsets: [{name: meshfence-local, labels: {topology.istio.io/cluster: m1c1}}]
`
	restRoute = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: reviews, namespace: NAMESPACE}\nspec:\n"

	restHosts = "  hosts: [reviews]\n"
	restHTTP  = "  http: [{route: [{destination: {host: reviews, subset: meshfence-local}}]}]\n"
	restTLS   = "  tls: [{match: [{sniHosts: [reviews]}], route: [{destination: {host: reviews, subset: meshfence-local}}]}]\n"
	restTCP   = "  tcp: [{route: [{destination: {host: reviews, subset: meshfence-local}}]}]\n"
)

// testRest shows where Istio makes a route of its own beside those of a user's VirtualService, and that what
// admission appends under hold subset takes its place (rows A3 and C9).
func testRest(t *testing.T, s *suite) {
	to := func(section, match string) string {
		return "  " + section + ": [{match: [" + match + "], route: [{destination: {host: reviews, subset: meshfence-local}}]}]\n"
	}
	tests := map[string]struct {
		spec string
		// leaks are the ports that leave before admission.
		leaks []int
		// beside reports whether a companion is beside the VirtualService, and refused that admission fixes nothing.
		beside, refused bool
	}{
		"http alone":          {spec: restHosts + restHTTP, leaks: []int{portTCP, portTLS}},
		"tcp alone":           {spec: restHosts + restTCP, leaks: []int{portHTTP, portTLS}},
		"tls alone":           {spec: restHosts + restTLS, leaks: []int{portHTTP, portTCP}},
		"http by port":        {spec: restHosts + to("http", "{port: 1}") + restTLS + restTCP, leaks: []int{portHTTP}},
		"http by label":       {spec: restHosts + to("http", "{sourceLabels: {such: none}, uri: {prefix: /x}}") + restTLS + restTCP, leaks: []int{portHTTP}},
		"http by namespace":   {spec: restHosts + to("http", "{sourceNamespace: none}") + restTLS + restTCP, leaks: []int{portHTTP}},
		"http by request":     {spec: restHosts + to("http", "{uri: {prefix: /x}}") + restTLS + restTCP},
		"http by gateway":     {spec: restHosts + to("http", "{gateways: [mesh], sourceLabels: {such: none}}") + restTLS + restTCP},
		"tcp by port":         {spec: restHosts + restHTTP + restTLS + to("tcp", "{port: 1}"), leaks: []int{portTCP}},
		"tcp by subnet":       {spec: restHosts + restHTTP + restTLS + to("tcp", "{destinationSubnets: [10.99.0.0/16]}"), leaks: []int{portTCP}},
		"tls by port":         {spec: restHosts + restHTTP + to("tls", "{port: 1, sniHosts: [reviews]}") + restTCP, leaks: []int{portTLS}},
		"tls by subnet":       {spec: restHosts + restHTTP + to("tls", "{sniHosts: [reviews], destinationSubnets: [10.99.0.0/16]}") + restTCP},
		"another gateway too": {spec: restHosts + "  gateways: [ingress, mesh]\n" + restHTTP, leaks: []int{portTCP, portTLS}},
		"several Services":    {spec: "  hosts: [reviews, other]\n" + restHTTP, leaks: []int{portTCP, portTLS}, refused: true},
		"names that differ": {
			spec: "  hosts: [reviews, reviews.NAMESPACE]\n" + restHTTP + restTCP +
				to("tls", "{port: 1, sniHosts: [reviews]}, {port: 2, sniHosts: [reviews, reviews.NAMESPACE]}"),
			leaks: []int{portTLS}, refused: true,
		},
		"several Services, beside a companion": {spec: "  hosts: [reviews, other]\n  exportTo: [.]\n" + restHTTP, beside: true},
		"a wildcard, beside a companion":       {spec: "  hosts: [\"*.NAMESPACE.svc.cluster.local\"]\n" + restHTTP, beside: true},
	}
	for _, c := range s.mesh.Clusters {
		s.applyTo(t, c, restService)
	}
	s.apply(t, restRule)
	const leaky, tight = restRoute + restHosts + "  http: [{directResponse: {status: 503}}]\n", restRoute + restHosts + restHTTP + restTLS + restTCP
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			// What was there before gives another result, so that none is taken for that of the case.
			before, left := leaky, []int{portTCP, portTLS}
			if len(test.leaks) > 0 {
				before, left = tight, nil
			}
			s.apply(t, before)
			s.expectPorts(t, left)
			if test.beside {
				s.apply(t, s.companion(t))
				defer s.remove(t, inject.CompanionName("reviews"))
			}
			s.apply(t, restRoute+test.spec)
			s.expectPorts(t, test.leaks)
			admitted, gaps := s.admit(t, restRoute+test.spec)
			if test.refused {
				if gaps == 0 {
					t.Error("must be refused")
				}
				return
			}
			if gaps > 0 {
				t.Errorf("%d gaps are left", gaps)
			}
			s.apply(t, admitted)
			s.expectPorts(t, nil)
		})
	}
}

// expectPorts waits until the cluster that names no subset is used for these ports, and no others, by a sidecar.
// PassthroughCluster takes TLS connections that ask for a name which no route has: they go to the Service's own
// address, where kube-proxy keeps them in the cluster.
func (s *suite) expectPorts(t *testing.T, ports []int) {
	t.Helper()
	err := testbed.Eventually(t.Context(), patience, func(ctx context.Context) error {
		report, err := s.verify(ctx, s.sidecar("m1c1"), policy.Strict, xds.Rules{})
		if err != nil {
			return err
		}
		leaving := map[string]bool{}
		for _, l := range report.Leaks {
			if l.Cluster != "PassthroughCluster" {
				leaving[l.Cluster] = true
			}
		}
		want := map[string]bool{}
		for _, port := range ports {
			want[s.cluster(port)] = true
		}
		if !maps.Equal(leaving, want) {
			return fmt.Errorf("want leaks of ports %v, got %s", ports, indent(report))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (s *suite) strictView(t *testing.T) *policy.View {
	t.Helper()
	config, err := policy.ParseConfig(policy.Source{}, []byte("apiVersion: config.meshfence.io/v1alpha1\nkind: FenceConfig\n"+
		"controlPlane: {clusters: [m1c1]}\nholds: [subset]\nscope: {default: strict}\n"))
	if err != nil {
		t.Fatal(err)
	}
	return policy.NewIndex(config).View()
}

// admit returns a VirtualService as admission stores it, and how many gaps are left.
func (s *suite) admit(t *testing.T, manifest string) (admitted string, gaps int) {
	t.Helper()
	written, err := yaml.YAMLToJSON([]byte(strings.ReplaceAll(manifest, "NAMESPACE", s.namespace)))
	if err != nil {
		t.Fatal(err)
	}
	plan := func(obj []byte) inject.Plan {
		decoded, err := object.Decode(object.KindVirtualService, obj)
		if err != nil {
			t.Fatal(err)
		}
		return inject.Object(decoded, s.strictView(t))
	}
	object, err := fixtures.Apply(written, plan(written).Edits)
	if err != nil {
		t.Fatal(err)
	}
	return string(object), len(plan(object).Gaps)
}

// companion returns the VirtualService that the controller makes.
func (s *suite) companion(t *testing.T) string {
	t.Helper()
	speaks := policy.SpeechOf([]object.ServicePort{{Name: "http"}, {Name: "tcp"}, {Name: "tls"}})
	route := inject.CompanionsOf(hostname.Host{Namespace: s.namespace, Name: "reviews"}, speaks, s.strictView(t)).Route
	object, err := json.Marshal(map[string]any{
		"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
		"metadata": map[string]any{"name": inject.CompanionName("reviews")}, "spec": route.Spec,
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(object)
}

func (s *suite) remove(t *testing.T, route string) {
	t.Helper()
	for _, c := range s.mesh.Primaries() {
		if _, _, err := c.Kubectl(t.Context(), "", "delete", "virtualservice", route, "-n", s.namespace); err != nil {
			t.Fatal(err)
		}
	}
}
