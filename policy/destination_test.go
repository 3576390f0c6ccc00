package policy_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// A Gateway is for the Pods of the Services that it names, by whatever other Service of its Namespace clients come to them.
func TestGatewaysOnServices(t *testing.T) {
	t.Parallel()
	index := policy.NewIndex(configOf(t, "{}"))
	for name, selector := range map[string]map[string]string{
		"front": {"app": "gateway"}, "same-pods": {"app": "gateway", "tier": "front"}, "other": {"app": "other"}, "by-hand": nil,
	} {
		index.SetObject(service("shop", name, selector))
	}
	index.SetObject(service("app", "front", map[string]string{"app": "gateway"}))
	index.SetObject(&object.Object{
		Kind: object.KindAPIGateway, Metadata: object.Metadata{Namespace: "shop", Name: "it"},
		APIGateway: &object.APIGateway{GatewayClassName: "istio", Addresses: []object.GatewayAddress{{Type: "Hostname", Value: "front"}}},
	})
	index.SetObject(&object.Object{
		Kind: object.KindGateway,
		Metadata: object.Metadata{
			Namespace: "shop", Name: "annotated",
			Annotations: map[string]string{object.GatewayServiceAnnotation: "by-hand.shop.svc.cluster.local,front.app.svc.cluster.local"},
		},
		Gateway: &object.Gateway{Selector: map[string]string{"app": "other"}},
	})
	want := map[string][]string{"shop/front": {"it"}, "shop/same-pods": {"it"}, "shop/other": nil, "shop/by-hand": {"annotated"}, "app/front": nil}
	got := map[string][]string{}
	for _, h := range []string{"front", "same-pods", "other", "by-hand"} {
		got["shop/"+h] = names(index.View().GatewaysOn(host("shop", h)))
	}
	got["app/front"] = names(index.View().GatewaysOn(host("app", "front")))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Gateways (-want +got):\n%s", diff)
	}
}

func service(namespace, name string, selector map[string]string) *object.Object {
	return &object.Object{
		Kind: object.KindService, Metadata: object.Metadata{Namespace: namespace, Name: name}, Service: &object.ServiceSpec{Selector: selector},
	}
}

func names(objects []*object.Object) []string {
	var list []string
	for _, o := range objects {
		list = append(list, o.Metadata.Name)
	}
	return list
}
