package search_test

import (
	"strings"
	"testing"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/test/search"
)

// What is written in a cluster may send the clients of another one out of theirs. Under hold locality a WorkloadEntry that says
// that it is in a locality over there does (row D7), and so does the label of a Pod (row E7).
func TestEvaluatorAsksClientsOfTheOtherCluster(t *testing.T) {
	const entry = `{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {namespace: shop, name: a},
  spec: {address: 10.1.9.9, labels: {app: reviews}, locality: `
	base := search.Base{
		Namespaces: []string{"shop", "web"},
		Services:   []search.Service{{Namespace: "shop", Name: "reviews", Fence: "strict", Ports: []search.Port{{Name: "http", Number: 9080}}}},
	}
	evaluator := &search.Evaluator{Temp: t.TempDir}
	defer evaluator.Close()
	for name, tc := range map[string]struct {
		hold policy.Hold
		step string
		// here and there say whose clients it sends elsewhere.
		here, there bool
	}{
		"in a locality there":                {policy.Locality, entry + "region-m1c2/zone}}", false, true},
		"in a locality there, by meshConfig": {policy.MeshConfig, entry + "region-m1c2/zone}}", false, false},
		"in a locality here":                 {policy.Locality, entry + "region-m1c1/zone}}", false, false},
		"elsewhere, in a locality here":      {policy.Locality, strings.Replace(entry, "10.1.9.9", "10.2.9.9", 1) + "region-m1c1/zone}}", true, false},
		"of another Service":                 {policy.Locality, strings.Replace(entry, "app: reviews", "app: ratings", 1) + "region-m1c2/zone}}", false, false},
		"a Pod that says that it is over there": {policy.Locality, `{apiVersion: v1, kind: Pod, metadata: {namespace: shop, name: reviews, labels: {app: reviews, topology.istio.io/locality: region-m1c2.zone}},
  spec: {nodeName: node}, status: {podIP: 10.1.0.5, podIPs: [{ip: 10.1.0.5}], phase: Running, conditions: [{type: Ready, status: "True"}]}}`, false, true},
	} {
		base.Holds = policy.HoldsOf(tc.hold)
		decided, err := search.Decide(search.World{Base: base, Steps: []search.Step{step(t, tc.step)}}, 0)
		if err != nil {
			t.Fatal(err)
		}
		leaks, err := evaluator.Leaks(decided)
		if err != nil {
			t.Fatal(err)
		}
		here, there := false, false
		for _, l := range leaks {
			if strings.Contains(l.Client, "m1c2") {
				there = true
			} else {
				here = true
			}
		}
		if here != tc.here || there != tc.there {
			t.Errorf("%s: clients here are sent elsewhere: %t, and those there: %t; want %t and %t", name, here, there, tc.here, tc.there)
		}
		if tc.there && decided.Accepted(0) {
			t.Errorf("%s: the guard accepts it", name)
		}
	}
}
