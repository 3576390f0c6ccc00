package search_test

import (
	"testing"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/test/search"
)

// A route of a VirtualService that sends a host elsewhere leaks when it is stored all the same.
func TestEvaluatorSeesARoute(t *testing.T) {
	ports := []search.Port{{Name: "http", Number: 9080}}
	world := search.World{
		Base: search.Base{
			Holds: policy.HoldsOf(policy.MeshConfig), Namespaces: []string{"shop", "web"},
			Services: []search.Service{{Namespace: "shop", Name: "reviews", Fence: "strict", Ports: ports}, {Namespace: "shop", Name: "ratings", Fence: "none", Ports: ports}},
		},
		Steps: []search.Step{step(t, `{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {namespace: shop, name: a},
  spec: {hosts: [reviews.shop.svc.cluster.local], http: [{route: [{destination: {host: ratings.shop.svc.cluster.local}}]}]}}`)},
	}
	evaluator := &search.Evaluator{Temp: t.TempDir}
	defer evaluator.Close()
	for range 3 { // a kept server too
		for forced, want := range map[int]bool{-1: false, 0: true} {
			decided, err := search.Decide(world, forced)
			if err != nil {
				t.Fatal(err)
			}
			leaks, err := evaluator.Leaks(decided)
			if err != nil {
				t.Fatal(err)
			}
			if (len(leaks) > 0) != want {
				t.Errorf("forced %d: %v", forced, leaks)
			}
		}
		world.Steps[0].Object["metadata"] = map[string]any{"namespace": "shop", "name": "b"}
	}
}
