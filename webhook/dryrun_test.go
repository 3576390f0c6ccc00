package webhook_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/meshfence/meshfence/policy/admit"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// TestDryRun: what waits for an object that does not exist is warned of in a dry run, and refused otherwise. What exists
// and is not strict is refused in both.
func TestDryRun(t *testing.T) {
	t.Parallel()
	const istio = "apiVersion: networking.istio.io/v1\nmetadata: {name: it, namespace: shop}\n"
	const routes = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: it, namespace: shop}\n"
	route := func(spec string) string {
		return istio + "kind: VirtualService\nspec: {hosts: [reviews], http: [{" + spec + "}]}\n"
	}
	const (
		canary, existing = "canary.default.svc.cluster.local", "existing.default.svc.cluster.local"
		local            = "{destination: {host: reviews, subset: meshfence-local}}"
	)
	for name, test := range map[string]struct {
		object string
		absent string // what the warning names; empty where both are refused
	}{
		"route":             {route("route: [{destination: {host: " + canary + "}}]"), "Service default/canary"},
		"mirror":            {route("route: [" + local + "], mirror: {host: " + canary + "}"), "Service default/canary"},
		"route that exists": {route("route: [{destination: {host: " + existing + "}}]"), ""},
		"half a name":       {route("route: [{destination: {host: canary.default}}]"), ""},
		"outside":           {route("route: [{destination: {host: www.example.com}}]"), ""},
		"one of two that exist": {
			route("route: [{destination: {host: " + canary + "}, weight: 1}, {destination: {host: " + existing + "}, weight: 1}]"), "",
		},
		"backend": {
			routes + "spec: {parentRefs: [{group: '', kind: Service, name: reviews}], rules: [{backendRefs: [{name: canary, namespace: default}]}]}\n", "Service default/canary",
		},
		"backend that exists": {
			routes + "spec: {parentRefs: [{group: '', kind: Service, name: reviews}], rules: [{backendRefs: [{name: existing, namespace: default}]}]}\n", "",
		},
		"gateway": {routes + "spec: {parentRefs: [{name: front}], rules: [{backendRefs: [{name: reviews}]}]}\n", "Gateway shop/front"},
		"class": {
			"apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: it, namespace: shop}\n" +
				"spec: {ingressClassName: public, defaultBackend: {service: {name: reviews}}}\n", "IngressClass public",
		},
		"egress proxy": {
			istio + "kind: Sidecar\nspec: {egress: [{hosts: [default/*]}], outboundTrafficPolicy: {egressProxy: {host: " + canary + "}}}\n", "Service default/canary",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hold := "[meshConfig]"
			if !strings.HasPrefix(test.absent, object.KindService) {
				hold = "[subset]" // what the others name matters there alone
			}
			c := serve(t, strings.Replace(fenced, "[subset]", hold, 1))
			reviews := hostname.Host{Namespace: "shop", Name: "reviews"}
			c.index.SetService(hostname.Host{Namespace: "default", Name: "existing"}, nil)
			c.index.SetService(reviews, nil)
			c.index.SetServiceSpec(reviews, object.ServiceSpec{
				Selector: map[string]string{"app": "reviews"}, ClusterIP: "10.0.0.1", Ports: []object.ServicePort{{Name: "http", Port: 9080}},
			})
			for _, dryRun := range []bool{false, true} {
				r := request(t, test.object, "")
				r.DryRun = &dryRun
				response := c.ask(t, admit.ValidatePath, r)
				if want := dryRun && test.absent != ""; response.Allowed != want {
					t.Fatalf("dry run %t: allowed %t, want %t: %+v", dryRun, response.Allowed, want, response.Result)
				}
				told := slices.ContainsFunc(response.Warnings, func(w string) bool {
					return strings.Contains(w, "this dry run is not refused for it, because there is no "+test.absent+" yet [")
				})
				if want := dryRun && test.absent != ""; told != want {
					t.Errorf("dry run %t: warned of it %t, want %t: %q", dryRun, told, want, response.Warnings)
				}
			}
		})
	}
}
