package leak_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
)

// routing are two objects about shop/reviews: routes from elsewhere to a subset, and the rule with the subset of a
// cluster.
func routing(cluster string) []string {
	return []string{
		"kind: VirtualService\nmetadata: {name: routes, namespace: web}\nspec: {hosts: [www.example.com], gateways: [gw], " +
			"http: [{route: [{destination: {host: reviews.shop.svc.cluster.local, subset: it}}]}]}",
		"kind: DestinationRule\nmetadata: {name: rule, namespace: shop}\nspec: {host: reviews, subsets: [{name: it, labels: {topology.istio.io/cluster: " + cluster + "}}]}",
	}
}

// TestStandingNamespace: a label that makes the Services of a Namespace strict is let in, with a warning of each route
// that it leaves without an endpoint and of each object that would be refused from now on.
func TestStandingNamespace(t *testing.T) {
	t.Parallel()
	const strict, prefer, silent = "{labels: {meshfence.io/fence: strict}}", "{labels: {meshfence.io/fence: prefer}}", "{labels: {team: a}}"
	emptied := []string{
		"route-without-endpoint DestinationRule shop/rule: spec.subsets[0].labels[topology.istio.io/cluster]",
		"route-without-endpoint VirtualService web/routes: spec.http[0].route[0].destination.subset",
	}
	tests := map[string]struct {
		hold, old, now, service string
		objects, want           []string
	}{
		"becomes strict":             {old: silent, now: strict, objects: routing("m1c2"), want: emptied},
		"becomes stricter":           {old: prefer, now: strict, objects: routing("m1c2"), want: emptied},
		"comes strict":               {now: strict, objects: routing("m1c2"), want: emptied},
		"was strict":                 {old: strict, now: "{labels: {team: a, meshfence.io/fence: strict}}", objects: routing("m1c2")},
		"becomes prefer":             {old: silent, now: prefer, objects: routing("m1c2")},
		"is loosened":                {old: strict, now: silent, objects: routing("m1c2")},
		"leads to a subset of here":  {old: silent, now: strict, objects: routing("m1c1")},
		"its Service is not strict":  {old: silent, now: strict, service: "none", objects: routing("m1c2")},
		"its Service was strict":     {old: silent, now: strict, service: "strict", objects: routing("m1c2")},
		"is about another Namespace": {old: silent, now: strict, objects: []string{"kind: DestinationRule\nmetadata: {name: rule, namespace: web}\nspec: {host: reviews.web.svc.cluster.local, trafficPolicy: {loadBalancer: {simple: PASSTHROUGH}}}"}},
		"leads out": {old: silent, now: strict,
			objects: []string{"kind: VirtualService\nmetadata: {name: routes, namespace: shop}\nspec: {hosts: [reviews], http: [{route: [{destination: {host: www.example.com}}]}]}"},
			want:    []string{"virtualservice-foreign-host VirtualService shop/routes: spec.http[0].route[0].destination.host"}},
		"has a wildcard": {old: silent, now: strict,
			objects: []string{"kind: DestinationRule\nmetadata: {name: rule, namespace: web}\nspec: {host: '*.local', trafficPolicy: {loadBalancer: {simple: PASSTHROUGH}}}"},
			want:    []string{"destinationrule-passthrough DestinationRule web/rule: spec.trafficPolicy.loadBalancer.simple"}},
		"has a label for its Services": {hold: "subset", old: "{labels: {istio.io/ingress-use-waypoint: 'true'}}",
			now:  "{labels: {istio.io/ingress-use-waypoint: 'true', meshfence.io/fence: strict}}",
			want: []string{"service-ingress-waypoint Namespace shop/shop: metadata.labels[istio.io/ingress-use-waypoint]"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			index := newIndex(t, "meshConfig")
			if test.hold != "" {
				index = newIndex(t, test.hold)
			}
			index.SetNamespace("web", nil)
			namespace := func(metadata string) *object.Object {
				o := fromYAML(t, object.KindNamespace, "metadata: "+metadata)
				o.Metadata.Name, o.Metadata.Namespace = "shop", "shop"
				return o
			}
			w := leak.Write{Object: namespace(test.now)}
			if test.old != "" {
				w.Old = leak.Known(namespace(test.old))
				index.SetNamespace("shop", w.Before().Metadata.Labels)
			}
			service := fromYAML(t, object.KindService, fmt.Sprintf("metadata: {name: reviews, namespace: shop, annotations: {meshfence.io/fence: %q}}\nspec: {selector: {app: reviews}, ports: [{name: http, port: 9080}]}", test.service))
			index.SetService(hostname.Host{Namespace: "shop", Name: "reviews"}, service.Metadata.Annotations)
			index.SetServiceSpec(hostname.Host{Namespace: "shop", Name: "reviews"}, *service.Service)
			for _, text := range test.objects {
				kind, _, _ := strings.Cut(strings.TrimPrefix(text, "kind: "), "\n")
				index.SetObject(fromYAML(t, kind, text))
			}
			var got []string
			for _, f := range leak.NewGuard(leak.Rules()).Existing(w, index.View()) {
				got = append(got, f.Rule+" "+f.Field())
				if f.Severity != leak.Warn {
					t.Errorf("finding %+v", f)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

// TestStandingNamespaceIsBounded: of many findings some are told, and the number of the others; and of many objects some
// are judged.
func TestStandingNamespaceIsBounded(t *testing.T) {
	t.Parallel()
	const objects = 1234
	index := newIndex(t, "meshConfig")
	for i := range objects {
		index.SetObject(fromYAML(t, object.KindDestinationRule,
			fmt.Sprintf("metadata: {name: a%d, namespace: shop}\nspec: {host: host%d, trafficPolicy: {loadBalancer: {simple: PASSTHROUGH}}}", i, i)))
	}
	w := leak.Write{Object: fromYAML(t, object.KindNamespace, "metadata: {name: shop, namespace: shop, labels: {meshfence.io/fence: strict}}")}
	found := leak.NewGuard(leak.Rules()).Existing(w, index.View())
	if len(found) != 11 || found[9].More != 490 || !strings.Contains(found[9].Message(), "; and 490 more [") {
		t.Fatalf("%d findings, the tenth %+v", len(found), found[min(9, len(found)-1)])
	}
	if last := found[10]; last.More != 0 || !strings.Contains(last.Message(), "734 more objects") {
		t.Errorf("the last: %+v", last)
	}
}
