package traffic_test

import (
	"fmt"
	"testing"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/test/testbed"
)

// TestBed shows without meshfence that calls go where Istio says they go: what the other tests rest on.
func TestBed(t *testing.T) {
	for name, shared := range map[string]bool{"multi-primary": false, "one istiod": true} {
		t.Run(name, func(t *testing.T) {
			m := startMesh(t, testbed.MeshOptions{Shared: shared})
			t.Run("cluster-local by mesh config", func(t *testing.T) { testClusterLocal(t, m) })
			t.Run("the pages of Bookinfo", func(t *testing.T) { testPages(t, m) })
		})
	}
}

func testClusterLocal(t *testing.T, m *testbed.Mesh) {
	s := newShop(t, m, nil, "reviews")
	s.everywhere(t, "reviews")
	local := "serviceSettings: [{settings: {clusterLocal: true}, hosts: [" + s.host("reviews") + "]}]\n"
	for _, primary := range m.Primaries() {
		edit(t, primary, func(mesh string) string { return mesh + local })
	}
	s.atHome(t, policy.Strict)
	s.failsClosed(t)
	for _, primary := range m.Primaries() {
		reset(t, primary)
	}
	s.everywhere(t, "reviews")
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

func testPages(t *testing.T, m *testbed.Mesh) {
	const namespace = "bookinfo"
	newNamespace(t, m, namespace)
	for _, c := range m.Clusters {
		for _, app := range []string{"details", "ratings", "reviews", "productpage"} {
			apply(t, c, namespace, service(app))
		}
	}
	for _, c := range m.Primaries() {
		apply(t, c, namespace, pages)
	}
	b, err := m.StartBookinfo(t.Context(), namespace)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Stop)
	for path, cluster := range map[string]string{"/productpage1": "m1c1", "/productpage2": "m1c2"} {
		request := testbed.Request{Service: "productpage." + namespace + ".svc.cluster.local", Path: path}
		_, err := b.Gateway.Until(t.Context(), request, calls, func(records testbed.Records) error {
			return checkPages(records, cluster)
		})
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// checkPages says what pages of a cluster lack whose reviews nothing fences.
func checkPages(records testbed.Records, cluster string) error {
	want := map[string]int{"v1 of m1c1 without stars": 0, "v2 of m1c2 with stars": 0}
	for _, record := range records {
		page := record.Answer
		if page.Source() != cluster || page.Part("details").Error != "" {
			return fmt.Errorf("want a page of %s with details, got %+v", cluster, record)
		}
		reviews, stars := page.Part("reviews"), "without"
		if reviews.Part("ratings").Error == "" {
			stars = "with"
		}
		kind := fmt.Sprintf("%s of %s %s stars", reviews.Version, reviews.Source(), stars)
		if _, ok := want[kind]; !ok {
			return fmt.Errorf("unexpected reviews: %s", kind)
		}
		want[kind]++
	}
	for kind, count := range want {
		if count == 0 {
			return fmt.Errorf("no reviews %s in %d pages", kind, len(records))
		}
	}
	return nil
}
