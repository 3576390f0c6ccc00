package search_test

import (
	"testing"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/test/search"
)

// shop is a base of two strict Services and one without a fence.
func shop() search.Base {
	ports := []search.Port{{Name: "http", Number: 9080}}
	return search.Base{Holds: policy.HoldsOf(policy.Locality), Namespaces: []string{"shop", "web"}, Services: []search.Service{
		{Namespace: "shop", Name: "reviews", Fence: "strict", Ports: ports},
		{Namespace: "shop", Name: "ratings", Fence: "strict", Ports: ports},
		{Namespace: "shop", Name: "details", Fence: "none", Ports: ports},
	}}
}

// What a rule says of a step is tried: alone, and in a completed world.
func TestTry(t *testing.T) {
	evaluator := &search.Evaluator{Temp: t.TempDir}
	defer evaluator.Close()
	for name, tc := range map[string]struct {
		rule, object string
		want         search.Trial
	}{
		"refused, leaks": {"virtualservice-foreign-host", `{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {namespace: shop, name: a},
  spec: {hosts: [reviews], http: [{route: [{destination: {host: details}}]}]}}`, search.Leaking},
		"refused, leaks as soon as the destination exists": {"virtualservice-foreign-host", `{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {namespace: shop, name: a},
  spec: {hosts: [reviews], http: [{route: [{destination: {host: db.example.com}}]}]}}`, search.Lacking},
		"refused, leaks as soon as the network has a gateway": {"pod-foreign-network", `{apiVersion: v1, kind: Pod, metadata: {namespace: shop, name: reviews, labels: {app: reviews, security.istio.io/tlsMode: istio, topology.istio.io/network: elsewhere}},
  spec: {nodeName: node}, status: {podIP: 10.1.0.5, podIPs: [{ip: 10.1.0.5}], phase: Running, conditions: [{type: Ready, status: "True"}]}}`, search.Lacking},
		"refused, leaks as soon as a workload registers": {"workloadentry-joins-fenced-service", `{apiVersion: networking.istio.io/v1, kind: WorkloadGroup, metadata: {namespace: shop, name: a},
  spec: {template: {labels: {app: reviews}}}}`, search.Lacking},
		"refused, leaks as soon as the destination has the port and an endpoint elsewhere": {"virtualservice-foreign-host", `{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {namespace: shop, name: a},
  spec: {hosts: [reviews], http: [{route: [{destination: {host: details, port: {number: 8080}}}]}]}}`, search.Lacking},
		"refused, leaks as soon as its address is elsewhere": {"serviceentry-fenced-host", `{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {namespace: shop, name: a},
  spec: {hosts: [reviews.shop.svc.cluster.local], resolution: STATIC, ports: [{name: http, number: 9080, protocol: HTTP}], endpoints: [{address: 10.1.0.7}]}}`, search.Lacking},
		"refused, leaks as soon as clients know its namespace alone": {"serviceentry-fenced-host", `{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {namespace: web, name: a},
  spec: {hosts: ["*.svc.cluster.local"], resolution: STATIC, ports: [{name: http, number: 9080, protocol: HTTP}], endpoints: [{address: 10.2.9.9}]}}`, search.Lacking},
		"refused, leaks as soon as the host is known in its namespace alone": {"serviceentry-fenced-host", `{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {namespace: shop, name: a},
  spec: {hosts: ["*.shop.svc.cluster.local"], resolution: STATIC, ports: [{name: http, number: 9080, protocol: HTTP}], endpoints: [{address: 10.2.9.9}]}}`, search.Lacking},
		"refused, leaks as soon as a client is what it asks for": {"virtualservice-foreign-host", `{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {namespace: shop, name: a},
  spec: {hosts: [reviews], http: [{match: [{sourceLabels: {app: vm}}], route: [{destination: {host: details}}]}]}}`, search.Lacking},
		"refused, harmless as it goes on to where it was going": {"serviceentry-fenced-host", `{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {namespace: web, name: a},
  spec: {hosts: [reviews.shop.svc.cluster.local], ports: [{name: http, number: 9080, protocol: HTTP}]}}`, search.Harmless},
		"refused, harmless as nobody knows it": {"serviceentry-fenced-host", `{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {namespace: web, name: a},
  spec: {hosts: [reviews.shop.svc.cluster.local], exportTo: ["~"], resolution: STATIC, ports: [{name: http, number: 9080, protocol: HTTP}], endpoints: [{address: 10.2.9.9}]}}`, search.Harmless},
		"refused, harmless": {"companion-name-reserved", `{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {namespace: shop, name: ratings-meshfence},
  spec: {host: db.example.com}}`, search.Harmless},
		"warned of, leaks": {"sidecar-egress-proxy-takes-tcp", `{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {namespace: web, name: a},
  spec: {outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: details.shop.svc.cluster.local, port: {number: 9080}}}}}`, search.Leaking},
	} {
		got, finding, err := evaluator.Try(search.World{Base: shop(), Steps: []search.Step{step(t, tc.object)}}, 0, tc.rule)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if finding.Rule != tc.rule {
			t.Errorf("%s: the rule %s says nothing", name, tc.rule)
		}
		if got != tc.want {
			t.Errorf("%s: got %d, want %d", name, got, tc.want)
		}
	}
}

// Where everything is strict, so is a Service that may come.
func TestTryMakesWhatMayCome(t *testing.T) {
	evaluator := &search.Evaluator{Temp: t.TempDir}
	defer evaluator.Close()
	base := shop()
	base.Default = policy.Strict
	entry := step(t, `{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {namespace: web, name: a},
  spec: {hosts: [soon.web.svc.cluster.local], resolution: STATIC, ports: [{name: http, number: 9080, protocol: HTTP}], endpoints: [{address: 10.2.9.9}]}}`)
	got, _, err := evaluator.Try(search.World{Base: base, Steps: []search.Step{entry}}, 0, "serviceentry-fenced-host")
	if err != nil || got != search.Lacking {
		t.Errorf("got %d, want %d: %v", got, search.Lacking, err)
	}
}

// A strict host whose Pods a Gateway makes a hop passes on what comes for another.
func TestEvaluatorFollowsAHop(t *testing.T) {
	evaluator := &search.Evaluator{Temp: t.TempDir}
	defer evaluator.Close()
	steps := []search.Step{
		step(t, `{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {namespace: shop, name: to-hop}, spec: {hosts: [reviews], http: [{route: [{destination: {host: ratings}}]}]}}`),
		step(t, `{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {namespace: shop, name: beyond}, spec: {hosts: ["*"], gateways: [hop], http: [{route: [{destination: {host: details}}]}]}}`),
		step(t, `{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {namespace: shop, name: hop}, spec: {selector: {app: ratings}, servers: [{port: {number: 9080, name: http, protocol: HTTP}, hosts: ["*"]}]}}`),
	}
	for name, tc := range map[string]struct {
		steps []search.Step
		want  bool
	}{"with a Gateway": {steps, true}, "without": {steps[:2], false}} {
		decided, err := search.Decide(search.World{Base: shop(), Steps: tc.steps}, 0, 1, 2)
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
