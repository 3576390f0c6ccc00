package search_test

import (
	"testing"

	"github.com/meshfence/meshfence/test/search"
)

// A port that the Service of the near cluster alone has is known to every server, whatever the other cluster says: else
// what is sent there would go to an egress proxy.
func TestEvaluatorHasTheNearClusterFirst(t *testing.T) {
	world := search.World{Base: shop(), Steps: []search.Step{
		step(t, `{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {namespace: web, name: a},
  spec: {outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: details.shop.svc.cluster.local, port: {number: 9080}}}}}`),
		step(t, `{apiVersion: v1, kind: Service, metadata: {namespace: shop, name: reviews, uid: uid, annotations: {meshfence.io/fence: strict}},
  spec: {clusterIP: 10.96.0.5, clusterIPs: [10.96.0.5], selector: {app: reviews}, ports: [{name: http, port: 9080}, {name: p, port: 9061}]}}`),
	}}
	decided, err := search.Decide(world)
	if err != nil {
		t.Fatal(err)
	}
	for range 6 {
		evaluator := &search.Evaluator{Temp: t.TempDir, Fresh: true}
		leaks, err := evaluator.Leaks(decided)
		evaluator.Close()
		if err != nil {
			t.Fatal(err)
		}
		if serious := decided.Serious(world, leaks); len(serious) > 0 {
			t.Fatalf("a server does not know the port: %s", serious[0])
		}
	}
}
