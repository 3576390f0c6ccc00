package policy_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
)

// TestActive: what is known not to hold is not active, and subset alone holds nothing behind an istiod of several
// clusters.
func TestActive(t *testing.T) {
	t.Parallel()
	broken := &policy.HoldFault{Reason: "gone"}
	behind := &policy.HoldFault{Reason: "late", Behind: true}
	states := func(c *policy.Config) string {
		var list []string
		for _, hold := range []policy.Hold{policy.MeshConfig, policy.Locality, policy.Subset} {
			if c.Holds.Has(hold) {
				list = append(list, c.Fault(hold).State())
			}
		}
		return strings.Join(list, " ")
	}
	for name, test := range map[string]struct {
		clusters, holds string
		rest            string
		mesh            *policy.HoldFault
		shares          policy.Shares
		active, states  string
	}{
		"all is well":               {"m1c1", "meshConfig, locality, subset", "", nil, policy.Shares{"r/*": 100}, "meshConfig, locality, subset", "true true true"},
		"mesh config broken":        {"m1c1", "meshConfig, subset", "", broken, nil, "subset", "broken true"},
		"mesh config behind":        {"m1c1", "meshConfig, subset", "", behind, nil, "subset", "behind true"},
		"mesh config alone, broken": {"m1c1", "meshConfig", "", broken, nil, "", "broken"},
		"mesh config is not named":  {"m1c1", "subset", "", broken, nil, "subset", "true"},
		"localities unknown":        {"m1c1", "locality, subset", "", nil, nil, "subset", "broken true"},
		"localities alone, unknown": {"m1c1", "locality", "", nil, nil, "", "broken"},
		"localities listed":         {"m1c1", "locality", "localities: {m1c1: [r]}\n", nil, nil, "locality", "true"},
		"several clusters":          {"m1c1, m1c2", "meshConfig, subset", "", nil, nil, "meshConfig, subset", "true true"},
		"several clusters, broken":  {"m1c1, m1c2", "meshConfig, subset", "", broken, nil, "", "broken broken"},
		"several clusters, and another hold": {"m1c1, m1c2", "meshConfig, locality, subset", "localities: {m1c1: [r1], m1c2: [r2]}\n",
			broken, nil, "locality, subset", "broken true true"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := strings.Replace(minimal, "holds: [meshConfig]", "holds: ["+test.holds+"]", 1)
			config := parse(t, strings.Replace(text, "[m1c1]", "["+test.clusters+"]", 1)+test.rest).WithMeshConfigFault(test.mesh)
			if test.shares != nil {
				config = config.WithShares(test.shares)
			}
			if diff := cmp.Diff([]string{test.active, test.states}, []string{config.Active().String(), states(config)}); diff != "" {
				t.Errorf("active holds and states (-want +got):\n%s", diff)
			}
		})
	}
}

// TestHoldFaultKeeps: a fault may leave some hosts held.
func TestHoldFaultKeeps(t *testing.T) {
	t.Parallel()
	const host = "cart.shop.svc.cluster.local"
	for name, test := range map[string]struct {
		fault *policy.HoldFault
		want  bool
	}{
		"no fault":     {nil, true},
		"for no host":  {&policy.HoldFault{}, false},
		"for the host": {&policy.HoldFault{Holds: func(h string) bool { return h == host }}, true},
		"for others":   {&policy.HoldFault{Holds: func(h string) bool { return h != host }}, false},
	} {
		if got := test.fault.Keeps(host); got != test.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestFenced(t *testing.T) {
	t.Parallel()
	index := policy.NewIndex(parse(t, minimal+"scope: {namespaces: [{name: shop, fence: strict}]}\n"))
	for _, host := range []hostname.Host{{Namespace: "shop", Name: "till"}, {Namespace: "shop", Name: "cart"}, {Namespace: "app", Name: "web"}} {
		index.SetService(host, nil)
	}
	index.SetService(hostname.Host{Namespace: "app", Name: "own"}, map[string]string{policy.FenceKey: "strict"})
	want := []hostname.Host{{Namespace: "app", Name: "own"}, {Namespace: "shop", Name: "cart"}, {Namespace: "shop", Name: "till"}}
	if diff := cmp.Diff(want, index.Fenced("", policy.Strict)); diff != "" {
		t.Errorf("strict Services (-want +got):\n%s", diff)
	}
}
