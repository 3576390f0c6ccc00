package policy_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// TestAliases: the other names of a host are those of the Services as they are now, and as a view is told of them.
func TestAliases(t *testing.T) {
	t.Parallel()
	const cart, till = "cart.shop.svc.cluster.local", "till.shop.svc.cluster.local"
	index := policy.NewIndex(configOf(t, "{}"))
	named := func(name string) object.ServiceSpec {
		return object.ServiceSpec{Type: "ExternalName", ExternalName: name}
	}
	a, b := host("app", "a"), host("app", "b")
	want := func(step, fqdn string, hosts ...hostname.Host) {
		t.Helper()
		if diff := cmp.Diff(hosts, index.View().Aliases(fqdn)); diff != "" {
			t.Errorf("%s, %s (-want +got):\n%s", step, fqdn, diff)
		}
	}
	for _, h := range []hostname.Host{a, b} {
		index.SetService(h, nil)
	}
	index.SetServiceSpec(b, named(cart))
	index.SetServiceSpec(a, named("Cart.shop.svc.cluster.local."))
	want("two names", cart, a, b)
	index.SetServiceSpec(b, named(till))
	want("one changes", cart, a)
	want("one changes", till, b)
	view := index.View()
	view.LoadServiceSpec(a, named(till))
	if diff := cmp.Diff([]hostname.Host{a, b}, view.Aliases(till)); diff != "" || len(view.Aliases(cart)) > 0 {
		t.Errorf("as the view is told: %v (-want +got):\n%s", view.Aliases(cart), diff)
	}
	index.SetServiceSpec(a, object.ServiceSpec{Type: "ClusterIP", ExternalName: cart})
	want("no name any more", cart)
	index.DeleteService(b)
	want("gone", till)
}
