package search_test

import (
	"testing"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/test/search"
)

// What exists when a fence comes is warned of, and that is enough.
func TestSeriousLeavesOutWhatStood(t *testing.T) {
	base := search.Base{
		Holds: policy.HoldsOf(policy.MeshConfig), Namespaces: []string{"shop", "web"},
		Services: []search.Service{{Namespace: "shop", Name: "ratings", Fence: "none", Ports: []search.Port{{Name: "grpc", Number: 9070}}}},
	}
	entry := step(t, `{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {namespace: web, name: a},
  spec: {hosts: [www.example.com], resolution: STATIC, ports: [{number: 9443, name: tcp, protocol: TCP}], endpoints: [{address: 10.2.9.9}]}}`)
	service := step(t, `{apiVersion: v1, kind: Service, metadata: {namespace: web, name: own, annotations: {meshfence.io/fence: strict, networking.istio.io/exportTo: .}},
  spec: {clusterIP: 10.96.1.1, clusterIPs: [10.96.1.1], selector: {app: own}, ports: [{port: 9443}]}}`)
	evaluator := &search.Evaluator{Temp: t.TempDir}
	defer evaluator.Close()
	audit := step(t, `{apiVersion: v1, kind: Namespace, metadata: {name: web, labels: {meshfence.io/enforcement: audit}}}`)
	warn := step(t, `{apiVersion: v1, kind: Namespace, metadata: {name: web, labels: {meshfence.io/enforcement: warn}}}`)
	for name, tc := range map[string]struct {
		steps  []search.Step
		forced []int
		want   bool
	}{
		"the fence comes last":             {[]search.Step{entry, service}, nil, false},
		"its namespace only records":       {[]search.Step{audit, service, entry}, nil, false},
		"its namespace only warns":         {[]search.Step{warn, service, entry}, nil, false},
		"the ServiceEntry does, unrefused": {[]search.Step{service, entry}, []int{1}, true},
	} {
		world := search.World{Base: base, Steps: tc.steps}
		decided, err := search.Decide(world, tc.forced...)
		if err != nil {
			t.Fatal(err)
		}
		leaks, err := evaluator.Leaks(decided)
		if err != nil {
			t.Fatal(err)
		}
		if len(leaks) == 0 {
			t.Errorf("%s: nothing leaks", name)
		}
		if got := decided.Serious(world, leaks); (len(got) > 0) != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
