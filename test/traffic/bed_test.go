package traffic_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/test/testbed"
	"github.com/meshfence/meshfence/xds"
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
	r := newReviews(t, m)
	for _, c := range m.Clusters {
		r.decided(t, c, policy.Strict, xds.Leaks, "m1c1", "m1c2")
	}
	local := "serviceSettings: [{settings: {clusterLocal: true}, hosts: [" + r.host() + "]}]\n"
	for _, primary := range m.Primaries() {
		edit(t, primary, func(mesh string) string { return mesh + local })
	}
	for _, c := range m.Clusters {
		r.decided(t, c, policy.Strict, xds.Held, c.Name)
	}
	for _, c := range m.Clusters {
		down(t, r.servers[c.Name])
		r.decided(t, c, policy.Strict, xds.Empty, "Unavailable")
		up(t, r.servers[c.Name])
		r.decided(t, c, policy.Strict, xds.Held, c.Name)
	}
	for _, primary := range m.Primaries() {
		reset(t, primary)
	}
	for _, c := range m.Clusters {
		r.decided(t, c, policy.Strict, xds.Leaks, "m1c1", "m1c2")
	}
}

func testPages(t *testing.T, m *testbed.Mesh) {
	namespace := newNamespace(t, m)
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
		if _, err := b.Gateway.Expect(t.Context(), request, calls, cluster); err != nil {
			t.Fatal(err)
		}
		records, err := b.Gateway.ExpectPart(t.Context(), request, "reviews", calls, "m1c1", "m1c2")
		if err != nil {
			t.Fatal(err)
		}
		for _, record := range records {
			reviews := record.Answer.Part("reviews")
			ratings := reviews.Part("ratings").Error == ""
			if stars := reviews.Version == "v2"; stars != ratings || stars != (reviews.Cluster == "m1c2") {
				t.Errorf("reviews v2 runs in m1c2 alone and has ratings, v1 has none:\n%s", cmp.Diff(testbed.Answer{}, reviews))
			}
		}
	}
}
