package policy_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

const (
	istioClass = `"spec": {"controller": "istio.io/ingress-controller"}`
	otherClass = `"spec": {"controller": "k8s.io/ingress-nginx"}`
)

// TestIngressReader: who reads an Ingress follows istiod's mesh config as far as that is known.
func TestIngressReader(t *testing.T) {
	t.Parallel()
	istio, other := policy.Reader{Istio: true}, policy.Reader{}
	usual, all := policy.DefaultIngressReading(), policy.IngressReading{Classes: []string{"edge", "istio"}, Classless: true}
	const edge = `"metadata": {"namespace": "shop", "name": "it", "annotations": {"kubernetes.io/ingress.class": "edge"}}, "spec": {}`
	named := func(class string) string { return `"spec": {"ingressClassName": "` + class + `"}` }
	for name, test := range map[string]struct {
		object  string
		reading *policy.IngressReading
		want    policy.Reader
	}{
		"a class of Istio":                     {named("mesh"), &usual, istio},
		"a class of another":                   {named("public"), &all, other},
		"a class that does not exist":          {named("gone"), &usual, policy.Reader{Istio: true, Unsure: "IngressClass gone does not exist"}},
		"an annotation that the mesh names":    {edge, &all, istio},
		"an annotation that the mesh does not": {edge, &usual, other},
		"an annotation, mesh config not known": {edge, nil, other},
		"no class":                             {`"spec": {}`, &usual, other},
		"no class, where the mesh reads that":  {`"spec": {}`, &all, istio},
		"no class, mesh config not known": {`"spec": {}`, nil, policy.Reader{Istio: true,
			Unsure: "it names no class, there is no default one, and the ingressControllerMode of the mesh config is not known"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			index := policy.NewIndex(configOf(t, "{}").WithIngressReading(test.reading))
			index.SetObject(objectOf(t, object.KindIngressClass, "", "mesh", istioClass))
			index.SetObject(objectOf(t, object.KindIngressClass, "", "public", otherClass))
			got := index.View().Reader(objectOf(t, object.KindIngress, "shop", "it", test.object))
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("reader (-want +got):\n%s", diff)
			}
		})
	}
}

// TestReadThrough: what a class or a Gateway decides is found by it, before and after it exists, and a view that is told
// of one believes that.
func TestReadThrough(t *testing.T) {
	t.Parallel()
	index := policy.NewIndex(configOf(t, "{}"))
	named := objectOf(t, object.KindIngress, "shop", "named", `"spec": {"ingressClassName": "mesh"}`)
	bare := objectOf(t, object.KindIngress, "shop", "bare", `"spec": {}`)
	route := objectOf(t, object.KindHTTPRoute, "shop", "routed", `"spec": {"parentRefs": [{"name": "front", "namespace": "infra"}]}`)
	gateway := objectOf(t, object.KindAPIGateway, "infra", "front", `"spec": {"gatewayClassName": "lb"}`)
	for _, o := range []*object.Object{named, bare, route, gateway} {
		index.SetObject(o)
	}
	class := object.Key{Kind: object.KindGatewayClass, Name: "lb"}
	for key, want := range map[object.Key][]object.Key{
		{Kind: object.KindIngressClass, Name: "mesh"}:  {bare.Key(), named.Key()},
		{Kind: object.KindIngressClass, Name: "other"}: {bare.Key()},
		class:         {route.Key()},
		gateway.Key(): {route.Key()},
		{Kind: object.KindGateway, Namespace: "infra", Name: "front"}:      nil,
		{Kind: object.KindAPIGateway, Namespace: "infra", Name: "another"}: nil,
		{Kind: object.KindGatewayClass, Name: "another"}:                   nil,
	} {
		var got []object.Key
		for _, o := range index.View().ReadThrough(key) {
			got = append(got, o.Key())
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%v (-want +got):\n%s", key, diff)
		}
	}
	view := index.View()
	if got, want := view.Reader(route).Unsure, "GatewayClass lb of Gateway infra/front does not exist"; got != want {
		t.Errorf("unsure %q, want %q", got, want)
	}
	if diff := cmp.Diff([]object.Key{class}, view.MissingObjects()); diff != "" {
		t.Errorf("missing (-want +got):\n%s", diff)
	}
	view.LoadObject(class, objectOf(t, object.KindGatewayClass, "", "lb", `"spec": {"controllerName": "example.com/lb"}`))
	if got := view.Reader(route); got != (policy.Reader{}) || len(view.MissingObjects()) > 0 {
		t.Errorf("reader %+v once the class is loaded, missing %v", got, view.MissingObjects())
	}
}
