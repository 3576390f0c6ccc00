package search_test

import (
	"testing"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/test/search"
)

// Who deletes a Service that is strict leaves its name to the other cluster; who has loosened it before has said that it
// may be answered there.
func TestEvaluatorAsksForWhatIsGone(t *testing.T) {
	base := search.Base{
		Holds: policy.HoldsOf(policy.Locality), Default: policy.Strict, Namespaces: []string{"shop", "web"},
		Services: []search.Service{{Namespace: "shop", Name: "reviews", Ports: []search.Port{{Name: "http", Number: 9080}}}},
	}
	of := `{apiVersion: v1, kind: Service, metadata: {namespace: shop, name: reviews, annotations: {meshfence.io/fence: none}},
  spec: {clusterIP: 10.96.0.5, clusterIPs: [10.96.0.5], selector: {app: reviews}, ports: [{name: http, port: 9080}]}}`
	loosened, deleted := step(t, of), step(t, of)
	deleted.Delete = true
	evaluator := &search.Evaluator{Temp: t.TempDir}
	defer evaluator.Close()
	for name, tc := range map[string]struct {
		steps []search.Step
		want  bool
	}{"strict": {[]search.Step{deleted}, true}, "loosened": {[]search.Step{loosened, deleted}, false}} {
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
