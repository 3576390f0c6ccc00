package search_test

import (
	"testing"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/test/search"
)

// What a user's VirtualService has no routes for is held by the companion beside it, of whatever protocols its routes are.
func TestCompanionBesideRoutes(t *testing.T) {
	ports := []search.Port{{Name: "http", Number: 9080}, {Name: "tcp", Number: 9090}, {Name: "https", Number: 9443}, {Name: "auto", Number: 9100}}
	base := search.Base{Holds: policy.HoldsOf(policy.Subset), Namespaces: []string{"shop", "web"}, Services: []search.Service{
		{Namespace: "shop", Name: "reviews", Fence: "strict", Ports: ports}, {Namespace: "shop", Name: "ratings", Fence: "strict", Ports: ports},
	}}
	const (
		http = "http: [{route: [{destination: {host: reviews}, weight: 80}, {destination: {host: ratings}, weight: 20}]}]"
		tcp  = "tcp: [{route: [{destination: {host: reviews}}]}]"
		tls  = "tls: [{match: [{sniHosts: [reviews.shop.svc.cluster.local]}], route: [{destination: {host: reviews}}]}]"
	)
	evaluator := &search.Evaluator{Temp: t.TempDir}
	defer evaluator.Close()
	for name, specs := range map[string][]string{
		"http":            {"hosts: [reviews], " + http},
		"tcp":             {"hosts: [reviews], " + tcp},
		"tls":             {"hosts: [reviews], " + tls},
		"http and tcp":    {"hosts: [reviews], " + http + ", " + tcp},
		"of two Services": {"hosts: [reviews, ratings], " + http},
		"and another one": {"hosts: [reviews], " + http, "hosts: [reviews], " + tcp},
		"tcp for a port":  {"hosts: [reviews], tcp: [{match: [{port: 9090}], route: [{destination: {host: reviews}}]}]"},
	} {
		world := search.World{Base: base}
		for i, spec := range specs {
			world.Steps = append(world.Steps, step(t, "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {namespace: shop, name: "+
				string(rune('a'+i))+"}, spec: {"+spec+"}}"))
		}
		decided, err := search.Decide(world)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range decided.Answers {
			if len(a.Refused) > 0 {
				t.Errorf("%s: refused: %v", name, a.Refused)
			}
		}
		leaks, err := evaluator.Leaks(decided)
		if err != nil {
			t.Fatal(err)
		}
		if len(leaks) > 0 {
			t.Errorf("%s: %d connections leak, such as %s", name, len(leaks), leaks[0])
		}
	}
}
