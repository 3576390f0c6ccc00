package search_test

import (
	"testing"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/test/search"
)

// Who deletes a Service that is strict, or whose annotation alone keeps it from being so, leaves its name to the other
// cluster. Of a host that nothing makes strict it may be answered there.
func TestEvaluatorAsksForWhatIsGone(t *testing.T) {
	of := `{apiVersion: v1, kind: Service, metadata: {namespace: shop, name: reviews, annotations: {meshfence.io/fence: none}},
  spec: {clusterIP: 10.96.0.5, clusterIPs: [10.96.0.5], selector: {app: reviews}, ports: [{name: http, port: 9080}]}}`
	loosened, deleted := step(t, of), step(t, of)
	deleted.Delete = true
	evaluator := &search.Evaluator{Temp: t.TempDir}
	defer evaluator.Close()
	for name, tc := range map[string]struct {
		scope policy.Fence
		steps []search.Step
		want  bool
	}{
		"strict":           {policy.Strict, []search.Step{deleted}, true},
		"loosened":         {policy.Strict, []search.Step{loosened, deleted}, true},
		"not strict":       {policy.None, []search.Step{deleted}, false},
		"loosened, stays":  {policy.Strict, []search.Step{loosened}, false},
		"nothing loosened": {policy.None, []search.Step{loosened, deleted}, false},
	} {
		base := search.Base{
			Holds: policy.HoldsOf(policy.Locality), Default: tc.scope, Namespaces: []string{"shop", "web"},
			Services: []search.Service{{Namespace: "shop", Name: "reviews", Ports: []search.Port{{Name: "http", Number: 9080}}}},
		}
		decided, err := search.Decide(search.World{Base: base, Steps: tc.steps})
		if err != nil {
			t.Fatal(err)
		}
		leaks, err := evaluator.Leaks(decided)
		if err != nil {
			t.Fatal(err)
		}
		if (len(leaks) > 0) != tc.want {
			t.Errorf("%s: %v", name, leaks)
		}
		if decided.Warned() != tc.want {
			t.Errorf("%s: warned: %t", name, decided.Warned())
		}
	}
}

// A route of another strict host to one that is gone is what the deletion was warned of.
func TestEvaluatorKnowsWhatLedToWhatIsGone(t *testing.T) {
	gone := step(t, `{apiVersion: v1, kind: Service, metadata: {namespace: shop, name: ratings}}`)
	gone.Delete = true
	world := search.World{Base: shop(), Steps: []search.Step{
		step(t, `{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {namespace: shop, name: a}, spec: {hosts: [reviews], http: [{route: [{destination: {host: ratings}}]}]}}`), gone,
	}}
	decided, err := search.Decide(world)
	if err != nil {
		t.Fatal(err)
	}
	if !decided.Warned() {
		t.Error("the deletion is not warned of")
	}
	evaluator := &search.Evaluator{Temp: t.TempDir}
	defer evaluator.Close()
	leaks, err := evaluator.Leaks(decided)
	if err != nil {
		t.Fatal(err)
	}
	routed := 0
	for _, l := range leaks {
		if l.Host != "reviews.shop.svc.cluster.local" {
			continue
		}
		if routed++; !l.Soft {
			t.Errorf("counts as more than what a warning is enough for: %s", l)
		}
	}
	if routed == 0 {
		t.Error("the route does not lead away")
	}
}
