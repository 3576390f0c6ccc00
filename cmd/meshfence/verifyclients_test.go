package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/meshfence/meshfence/xds"
)

const verifyBase = `
apiVersion: v1
kind: ConfigMap
metadata: {name: meshfence, namespace: meshfence-system}
data:
  config.yaml: |
    apiVersion: config.meshfence.io/v1alpha1
    kind: FenceConfig
    controlPlane: {clusters: [m1c1]}
    holds: [meshConfig]
    scope: {namespaces: [{name: shop, fence: strict}]}
---
{apiVersion: v1, kind: Namespace, metadata: {name: a}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: b}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: istio-system}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: shop}}
---
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop}
spec: {clusterIP: 10.101.0.7, clusterIPs: [10.101.0.7, "fd00::7"], ports: [{port: 9080}, {port: 9090}]}
---
`

// Which clients istiod may treat differently, by the objects there are: a, b and istio-system are alike, and shop has
// a fenced Service.
func TestVerifyClients(t *testing.T) {
	t.Parallel()
	const ordinary, gateway = "sidecar of m1c1 in a", "gateway of m1c1 in istio-system with istio=ingressgateway"
	const shop = "sidecar of m1c1 in shop"
	tests := map[string]struct {
		objects string
		want    []string
	}{
		"nothing": {"", []string{ordinary, shop, gateway}},
		"a Sidecar": {
			`{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: s, namespace: b}, spec: {egress: [{hosts: [x/*]}]}}`,
			[]string{ordinary, "sidecar of m1c1 in b", shop, gateway},
		},
		"the same Sidecar twice": {
			`{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: s, namespace: b}, spec: {egress: [{hosts: [x/*]}]}}
---
{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: t, namespace: c}, spec: {egress: [{hosts: [x/*]}]}}`,
			[]string{ordinary, "sidecar of m1c1 in b", shop, gateway},
		},
		"Sidecars that mean their own namespaces": {
			`{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: s, namespace: b}, spec: {egress: [{hosts: [./*]}]}}
---
{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: t, namespace: c}, spec: {egress: [{hosts: [./*]}]}}`,
			[]string{ordinary, "sidecar of m1c1 in b", "sidecar of m1c1 in c", shop, gateway},
		},
		"a Sidecar for some workloads": {
			`{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: s, namespace: b}, spec: {workloadSelector: {labels: {app: z}}}}`,
			[]string{ordinary, "sidecar of m1c1 in b", "sidecar of m1c1 in b with app=z", shop, gateway},
		},
		"a DestinationRule for a Service elsewhere": {
			`{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: d, namespace: b}, spec: {host: reviews.shop.svc.cluster.local}}`,
			[]string{ordinary, "sidecar of m1c1 in b", shop, gateway},
		},
		"a DestinationRule for its own Service": {
			`{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: d, namespace: b}, spec: {host: x}}`,
			[]string{ordinary, shop, gateway},
		},
		"a ServiceEntry for one namespace": {
			`{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: e, namespace: x}, spec: {hosts: [e.example.com], exportTo: [b]}}`,
			[]string{ordinary, "sidecar of m1c1 in b", shop, gateway},
		},
		"a ServiceEntry for all": {
			`{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: e, namespace: b}, spec: {hosts: [e.example.com], exportTo: ["*"]}}`,
			[]string{ordinary, shop, gateway},
		},
		"a VirtualService for all": {
			`{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: v, namespace: b}, spec: {hosts: [x]}}`,
			[]string{ordinary, shop, gateway},
		},
		"a VirtualService for its own namespace": {
			`{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: v, namespace: b}, spec: {hosts: [x], exportTo: [.]}}`,
			[]string{ordinary, "sidecar of m1c1 in b", shop, gateway},
		},
		"a name of a search list": {
			`{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: e, namespace: istio-system}, spec: {hosts: [reviews.shop.b.svc.cluster.local]}}`,
			[]string{ordinary, "sidecar of m1c1 in b", shop, gateway},
		},
		"a Service for one namespace": {
			`{apiVersion: v1, kind: Service, metadata: {name: x, namespace: x, annotations: {networking.istio.io/exportTo: b}}, spec: {ports: [{port: 80}]}}`,
			[]string{ordinary, "sidecar of m1c1 in b", shop, gateway},
		},
		"a Gateway": {
			`{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: g, namespace: b}, spec: {selector: {app: z}}}`,
			[]string{ordinary, shop, "gateway of m1c1 in b with app=z", gateway, "gateway of m1c1 in istio-system with app=z"},
		},
		"a network": {
			`{apiVersion: v1, kind: Service, metadata: {name: x, namespace: x, labels: {topology.istio.io/network: net1}}, spec: {ports: [{port: 80}]}}`,
			[]string{ordinary, ordinary + " on network net1", shop, gateway},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, w := verifyWorld(t, verifyBase+test.objects)
			proxies, left := f.proxies(w)
			got := map[string]bool{}
			for _, proxy := range proxies {
				got[clientText(proxy)] = true
			}
			want := map[string]bool{}
			for _, client := range test.want {
				want[client] = true
			}
			if diff := cmp.Diff(want, got); diff != "" || len(proxies) != len(want) || len(left) > 0 {
				t.Errorf("not asked: %q; clients (-want +got):\n%s", left, diff)
			}
		})
	}
}

// What is left out is said.
func TestVerifyNotAsked(t *testing.T) {
	t.Parallel()
	headless := verifyBase + `
{apiVersion: v1, kind: Service, metadata: {name: headless, namespace: shop}, spec: {clusterIP: None, ports: [{port: 9080}]}}
`
	f, w := verifyWorld(t, headless)
	f.maxClients = 2
	_, left := f.proxies(w)
	want := []string{
		"the Pods of headless.shop.svc.cluster.local, which are not known here",
		"1 more kinds of client in m1c1, from gateway of m1c1 in istio-system with istio=ingressgateway on (--max-clients)",
	}
	if diff := cmp.Diff(want, left); diff != "" {
		t.Errorf("a limit and a headless Service (-want +got):\n%s", diff)
	}
	f, w = verifyWorld(t, headless+`---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: headless-1, namespace: shop, labels: {kubernetes.io/service-name: headless}}
endpoints: [{addresses: [10.1.0.8]}]
`)
	f.narrowed = true
	_, left = f.proxies(w)
	if diff := cmp.Diff([]string{"1 more kinds of sidecar, and gateways, than those of the flags"}, left); diff != "" {
		t.Errorf("flags (-want +got):\n%s", diff)
	}
	forbidden := apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "", nil)
	if err := w.tolerate("Pod", fmt.Errorf("list Pods: %w", forbidden)); err != nil {
		t.Fatal(err)
	}
	if _, left := f.proxies(w); !strings.HasPrefix(left[len(left)-1], "clients that Pod make different") {
		t.Errorf("may not list Pods: got %q", left)
	}
	if places := w.podPlaces(); len(places) != 1 {
		t.Errorf("want one Pod in m1c1, got %v", places)
	}
}

// verifyWorld reads manifests as verify does for clients of m1c1.
func verifyWorld(t *testing.T, manifests string) (*verifyFlags, *world) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "objects.yaml")
	if err := os.WriteFile(path, []byte(manifests), 0o600); err != nil {
		t.Fatal(err)
	}
	f := &verifyFlags{
		clusters: []string{"m1c1"}, kinds: []string{"sidecar", "gateway"}, maxClients: 100,
		sidecar: xds.Proxy{Kind: xds.Sidecar, Namespace: "default"},
		gateway: xds.Proxy{Kind: xds.Gateway, Namespace: "istio-system", Labels: map[string]string{"istio": "ingressgateway"}},
	}
	f.scene.paths = []string{path}
	w, err := f.ofManifests(nil)
	if err != nil {
		t.Fatal(err)
	}
	return f, w
}
