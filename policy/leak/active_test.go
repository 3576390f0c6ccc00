package leak_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
	"github.com/meshfence/meshfence/test/fixtures"
)

// TestBrokenHold: the guard judges by the holds that are active, after mutation by the same.
func TestBrokenHold(t *testing.T) {
	t.Parallel()
	const (
		hiddenRule   = `{"metadata": {"name": "it", "namespace": "shop", "labels": {"istio.io/rev": "canary"}}, "spec": {"host": "cart"}}`
		foreignRoute = `{"metadata": {"name": "it", "namespace": "shop"}, "spec": {"hosts": ["cart"], "http": [{"route": [{"destination": {"host": "cart", "subset": "other"}}]}]}}`
		plainRule    = `{"metadata": {"name": "it", "namespace": "shop"}, "spec": {"host": "cart", "subsets": [{"name": "v1", "labels": {"version": "v1"}}]}}`
		plainRoute   = `{"metadata": {"name": "it", "namespace": "shop"}, "spec": {"hosts": ["cart"], "http": [{"route": [{"destination": {"host": "cart"}}]}]}}`
	)
	for name, test := range map[string]struct {
		holds        policy.Holds
		kind, object string
		well, ill    []string // the rules
	}{
		"hidden rule":                 {policy.HoldsOf(policy.MeshConfig), object.KindDestinationRule, hiddenRule, nil, []string{"revision-hides-fence"}},
		"hidden rule beside subset":   {policy.HoldsOf(policy.MeshConfig, policy.Subset), object.KindDestinationRule, hiddenRule, nil, []string{"revision-hides-fence"}},
		"foreign route":               {policy.HoldsOf(policy.MeshConfig), object.KindVirtualService, foreignRoute, []string{"route-without-endpoint"}, []string{"virtualservice-foreign-subset"}},
		"foreign route beside subset": {policy.HoldsOf(policy.MeshConfig, policy.Subset), object.KindVirtualService, foreignRoute, []string{"route-without-endpoint"}, []string{"virtualservice-foreign-subset"}},
		"hidden rule beside locality": {policy.HoldsOf(policy.MeshConfig, policy.Locality), object.KindDestinationRule, hiddenRule, nil, []string{"revision-hides-fence"}},
		"plain rule":                  {policy.HoldsOf(policy.MeshConfig), object.KindDestinationRule, plainRule, nil, nil},
		"plain rule beside subset":    {policy.HoldsOf(policy.MeshConfig, policy.Subset), object.KindDestinationRule, plainRule, nil, nil},
		"plain route":                 {policy.HoldsOf(policy.MeshConfig), object.KindVirtualService, plainRoute, nil, nil},
		"plain route beside subset":   {policy.HoldsOf(policy.MeshConfig, policy.Subset), object.KindVirtualService, plainRoute, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			index := indexWith(t, test.holds, "{default: strict}")
			index.SetService(hostname.Host{Namespace: "shop", Name: "cart"}, nil)
			index.SetObject(decode(t, object.KindDestinationRule, []byte(
				`{"metadata": {"name": "existing", "namespace": "shop"}, "spec": {"host": "cart", "subsets": [{"name": "other", "labels": {"topology.istio.io/cluster": "m1c2"}}]}}`)))
			index.SetObject(decode(t, object.KindVirtualService, []byte(strings.Replace(foreignRoute, `"it"`, `"existing"`, 1))))
			for _, state := range []struct {
				name  string
				fault *policy.HoldFault
				want  []string
			}{{"well", nil, test.well}, {"ill", &policy.HoldFault{Reason: "gone"}, test.ill}} {
				index.SetConfig(index.Config().WithMeshConfigFault(state.fault))
				plan := inject.Object(decode(t, test.kind, []byte(test.object)), index.View())
				mutated, err := fixtures.Apply([]byte(test.object), plan.Edits)
				if err != nil {
					t.Fatal(err)
				}
				got := rulesFound(leak.NewGuard(leak.Rules()).Check(decode(t, test.kind, mutated), index.View()))
				if diff := cmp.Diff(state.want, got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", state.name, diff)
				}
			}
		})
	}
}
