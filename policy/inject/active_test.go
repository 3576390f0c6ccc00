package inject_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/meshconfig"
	"github.com/meshfence/meshfence/policy/object"
)

// broken is a fault of hold meshConfig.
func broken() *policy.HoldFault {
	return &policy.HoldFault{Reason: "ConfigMap istio-system/istio does not exist"}
}

// TestBrokenHold: where meshConfig is broken, what subset needs alone is injected, and taken back when it is true
// again; behind an istiod of several clusters nothing is.
func TestBrokenHold(t *testing.T) {
	t.Parallel()
	route := []byte(`{"metadata":{"name":"it","namespace":"shop"},"spec":{"hosts":["reviews"],"http":[{"route":[{"destination":{"host":"reviews"}}]}]}}`)
	for name, test := range map[string]struct {
		clusters string
		alone    bool
	}{"one cluster": {"m1c1", true}, "several clusters": {"m1c1, m1c2", false}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := parse(t, "controlPlane: {clusters: ["+test.clusters+"]}\nholds: [meshConfig, subset]\nscope: {default: strict}\n")
			well, ill := policy.NewIndex(config), policy.NewIndex(config.WithMeshConfigFault(broken()))
			if plan := planFor(t, object.KindVirtualService, route, well); len(plan.Edits)+len(plan.Gaps) > 0 {
				t.Errorf("while all is well:\n%s", describe(t, plan))
			}
			plan := planFor(t, object.KindVirtualService, route, ill)
			stored := apply(t, route, plan)
			if got := strings.Contains(string(stored), policy.ReservedSubset); got != test.alone || len(plan.Gaps) > 0 != test.alone {
				t.Errorf("while meshConfig is broken:\n%s", describe(t, plan))
			}
			same(t, "when it is true again", route, apply(t, stored, planFor(t, object.KindVirtualService, stored, well)))
			if c := inject.CompanionsOf(reviews, policy.Speech{}, ill.View()); (c.Route != nil) != test.alone || (c.Rule != nil) != test.alone {
				t.Errorf("companions %+v", c)
			}
			if c := inject.CompanionsOf(reviews, policy.Speech{}, well.View()); c.Route != nil {
				t.Errorf("companion route %+v while all is well", c.Route)
			}
		})
	}
}

// TestUnknownLocalitiesBesideSubset: subset holds alone while the localities are not known, and a rule that exists
// keeps its distribute.
func TestUnknownLocalitiesBesideSubset(t *testing.T) {
	t.Parallel()
	index := policy.NewIndex(parse(t, "controlPlane: {clusters: [m1c1]}\nholds: [locality, subset]\nscope: {default: strict}\n"))
	c := inject.CompanionsOf(reviews, policy.Speech{}, index.View())
	if !c.RuleStays || c.Rule == nil || c.Route == nil {
		t.Fatalf("companions %+v", c)
	}
	want := []any{map[string]any{"name": policy.ReservedSubset, "labels": map[string]any{policy.ClusterLabel: "m1c1"}}}
	if diff := cmp.Diff(want, c.Rule.Spec["subsets"]); diff != "" || c.Rule.Spec["trafficPolicy"] != nil {
		t.Errorf("rule %v (-want +got):\n%s", c.Rule.Spec, diff)
	}
}

// seenMap is a mesh ConfigMap and what is to be said of it.
type seenMap struct {
	read         meshconfig.ConfigMap
	state, words string
	lacks        []string
}

// meshMaps are the forms that a mesh ConfigMap has while all of shop is strict.
func meshMaps() map[string]seenMap {
	const name, all = "istio-system/istio", "*.shop.svc.cluster.local"
	text := func(text string, others ...string) meshconfig.ConfigMap {
		data := map[string]string{meshconfig.Key: text}
		for i, other := range others {
			data[fmt.Sprint(i)] = other
		}
		return meshconfig.ReadConfigMap(name, "cluster.local", data, nil)
	}
	const held = "serviceSettings:\n- settings: {clusterLocal: true}\n  hosts: [\"" + all + "\"]\n"
	const alias = "x: &s\n- settings: {clusterLocal: true}\n  hosts: [\"a.b.svc.cluster.local\"]\nserviceSettings: *s\n"
	return map[string]seenMap{
		"it says what is wanted":     {text(held), "true", "", nil},
		"by an alias":                {text(strings.Replace(alias, "a.b.svc.cluster.local", all, 1)), "true", "", nil},
		"empty":                      {text(""), "behind", "ConfigMap istio-system/istio lacks clusterLocal entries of strict hosts", []string{all}},
		"an alias":                   {text(alias), "broken", "nobody but you can add them: mesh config line", []string{all}},
		"too large":                  {text("a: b\n", strings.Repeat("x", 1<<20)), "broken", "it would become too large for a ConfigMap", []string{all}},
		"two documents":              {text(held + "---\na: b\n"), "broken", "cannot be read by meshfence: mesh config line 4: must be one YAML document", nil},
		"duplicate":                  {text(held + "serviceSettings: []\n"), "broken", "must be there once", nil},
		"missing":                    {meshconfig.MissingConfigMap(name), "broken", "ConfigMap istio-system/istio does not exist", nil},
		"forbidden":                  {meshconfig.UnknownConfigMap(name, fmt.Errorf("no right")), "broken", "cannot be read: no right", nil},
		"a host is said to be other": {text(held + "- settings: {clusterLocal: false}\n  hosts: [reviews.shop.svc.cluster.local]\n"), "behind", "lacks", []string{"reviews.shop.svc.cluster.local"}},
	}
}

func TestMeshMap(t *testing.T) {
	t.Parallel()
	index := policy.NewIndex(parse(t, "controlPlane: {clusters: [m1c1]}\nholds: [meshConfig]\nscope: {namespaces: [{name: shop, fence: strict}]}\n"))
	for name, test := range meshMaps() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fault, lacks := test.read.Fault(index.View())
			if diff := cmp.Diff(test.lacks, lacks); diff != "" || fault.State() != test.state {
				t.Errorf("%s, lacks (-want +got):\n%s", fault.State(), diff)
			}
			if fault != nil && (test.words == "" || !strings.Contains(fault.Reason, test.words)) {
				t.Errorf("reason %q, want %q in it", fault.Reason, test.words)
			}
			// What the text holds is held, whatever else it lacks.
			if other := "other.open.svc.cluster.local"; fault != nil && fault.Keeps(other) {
				t.Errorf("%s is held", other)
			}
		})
	}
}

func TestJoinFaults(t *testing.T) {
	t.Parallel()
	only := func(host string) func(string) bool { return func(h string) bool { return h == host } }
	late := &policy.HoldFault{Behind: true, Reason: "a is late", Holds: only("x")}
	gone := &policy.HoldFault{Reason: "b is gone"}
	for name, test := range map[string]struct {
		faults []*policy.HoldFault
		state  string
		reason string
		holds  bool
	}{
		"none":     {nil, "true", "", true},
		"one":      {[]*policy.HoldFault{late}, "behind", "a is late", true},
		"two":      {[]*policy.HoldFault{late, late}, "behind", "a is late; a is late", true},
		"a broken": {[]*policy.HoldFault{late, gone}, "broken", "a is late; b is gone", false},
	} {
		fault := meshconfig.JoinFaults(test.faults)
		if fault.State() != test.state || fault.Keeps("x") != test.holds || fault != nil && (fault.Reason != test.reason || fault.Keeps("y")) {
			t.Errorf("%s: %+v", name, fault)
		}
	}
}
