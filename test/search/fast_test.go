package search_test

import (
	"testing"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/test/search"
)

// Seeds and bases of the fast part: some hundred worlds.
const (
	fastSeed  = 1
	fastBases = 3
)

// TestFast goes through a few worlds of fixed seeds, bounded by their number and not by time.
func TestFast(t *testing.T) {
	report := search.Run(search.Options{Seed: fastSeed, Worlds: fastBases, Trials: 0.02, Temp: t.TempDir})
	t.Logf("%d bases, %d worlds, %d states asked", report.Bases, report.Worlds, report.Asked)
	for _, h := range report.Leaks {
		t.Errorf("SEED=%d, base %d:\n%s", h.Seed, h.Base, h.Text())
	}
	for problem, n := range report.Problems {
		t.Errorf("%d worlds cannot be judged: %s", n, problem)
	}
	for _, d := range report.Disagreed {
		t.Errorf("a fresh istiod disagrees:\n%s", d)
	}
	for _, s := range report.Stale {
		t.Errorf("a fresh istiod knows nothing of this leak:\n%s", s)
	}
	if report.Bases != fastBases || report.Asked < 50 {
		t.Errorf("%d bases, %d states asked", report.Bases, report.Asked)
	}
}

// stolen is a world in which a ServiceEntry takes a host under whatever holds.
func stolen(t *testing.T, resolution string) search.World {
	t.Helper()
	return search.World{
		Base: search.Base{
			Holds: policy.HoldsOf(policy.MeshConfig), Namespaces: []string{"shop", "web"},
			Services: []search.Service{{Namespace: "shop", Name: "reviews", Fence: "strict", Ports: []search.Port{{Name: "http", Number: 9080}}}},
		},
		Steps: []search.Step{step(t, `{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {namespace: web, name: a},
  spec: {exportTo: [.], hosts: [reviews.shop.svc.cluster.local], resolution: `+resolution+`, ports: [{number: 9080, name: http, protocol: HTTP}], endpoints: [{address: 10.2.9.9}]}}`)},
	}
}

// The guard refuses what leaks, and istiod shows that it leaks: who could not see this would find nothing.
func TestEvaluatorSeesALeak(t *testing.T) {
	for name, fresh := range map[string]bool{"kept": false, "fresh": true} {
		evaluator := &search.Evaluator{Temp: t.TempDir, Fresh: fresh}
		defer evaluator.Close()
		for forced, want := range map[int]bool{-1: false, 0: true} {
			decided, err := search.Decide(stolen(t, "STATIC"), forced)
			if err != nil {
				t.Fatal(err)
			}
			if decided.Accepted(0) {
				t.Errorf("%s: the guard accepts what leaks", name)
			}
			leaks, err := evaluator.Leaks(decided)
			if err != nil {
				t.Fatal(err)
			}
			if (len(leaks) > 0) != want {
				t.Errorf("%s: forced %d: %v", name, forced, leaks)
			}
		}
	}
}
