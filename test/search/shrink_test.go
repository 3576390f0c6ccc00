package search_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/test/search"
)

func step(t *testing.T, text string) search.Step {
	t.Helper()
	var o search.Object
	if err := yaml.Unmarshal([]byte(text), &o); err != nil {
		t.Fatal(err)
	}
	return search.Step{Object: o}
}

// Shrinking leaves what is needed and nothing else: steps, fields, items of lists, Services and their ports.
func TestShrink(t *testing.T) {
	t.Parallel()
	world := search.World{
		Base: search.Base{Holds: policy.HoldsOf(policy.MeshConfig), Namespaces: []string{"shop"}, Services: []search.Service{
			{Namespace: "shop", Name: "reviews", Fence: "strict", Ports: []search.Port{{Name: "http", Number: 80}, {Name: "tcp", Number: 90}}},
			{Namespace: "shop", Name: "ratings", Fence: "strict", Ports: []search.Port{{Name: "http", Number: 80}}},
		}},
		Steps: []search.Step{
			step(t, `{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {namespace: shop, name: a}, spec: {egress: [{hosts: [./*]}]}}`),
			step(t, `{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {namespace: shop, name: b, labels: {x: y}}, spec: {hosts: [one, zwei, three], location: MESH_INTERNAL, ports: [{number: 1, name: a}, {number: 2, name: b}]}}`),
		},
	}
	before := world.YAML()
	got := search.Shrink(world, func(w search.World) bool {
		text := w.YAML()
		return strings.Contains(text, "zwei") && strings.Contains(text, "number: 2") && w.Base.Services[0].Ports[0].Name == "http"
	})
	want := "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata:\n  name: b\n  namespace: shop\nspec:\n  hosts:\n  - zwei\n  ports:\n  - number: 2\n"
	if diff := cmp.Diff(want, strings.ReplaceAll(got.YAML(), "  labels: {}\n", "")); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	services := []search.Service{{Namespace: "shop", Name: "reviews", Fence: "none", Ports: []search.Port{{Name: "http", Number: 80}}}}
	if diff := cmp.Diff(services, got.Base.Services); diff != "" {
		t.Errorf("Services (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before, world.YAML()); diff != "" {
		t.Errorf("the world given was changed (-want +got):\n%s", diff)
	}
}
