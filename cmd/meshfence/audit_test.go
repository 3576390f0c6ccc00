package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/controller/audit"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/leak"
)

// TestSound: what makes audit exit with 1.
func TestSound(t *testing.T) {
	t.Parallel()
	held := audit.FencedService{Fence: "strict", HeldBy: []string{"subset"}}
	lacking := audit.FencedService{Fence: "strict", Lacks: []inject.Lack{{Reason: inject.LackRoute}}}
	for name, test := range map[string]struct {
		report audit.Report
		want   bool
	}{
		"nothing":           {audit.Report{}, true},
		"all is well":       {audit.Report{Holds: []audit.HoldReport{{State: policy.HoldTrue}}, Services: []audit.FencedService{held, {Fence: "prefer"}}}, true},
		"a warning":         {audit.Report{Results: []audit.Result{{Verdict: leak.Verdict{Warned: make([]leak.Finding, 1)}}}}, true},
		"a denial":          {audit.Report{Results: []audit.Result{{Verdict: leak.Verdict{Denied: make([]leak.Finding, 1)}}}}, false},
		"a hold is behind":  {audit.Report{Holds: []audit.HoldReport{{State: policy.HoldTrue}, {State: policy.HoldBehind}}}, false},
		"nothing holds one": {audit.Report{Services: []audit.FencedService{held, lacking}}, false},
		"a hold of two is broken": {audit.Report{Holds: []audit.HoldReport{{State: policy.HoldBroken}, {State: policy.HoldTrue}},
			Services: []audit.FencedService{held}}, false},
	} {
		if got := sound(test.report); got != test.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestWriteAudit(t *testing.T) {
	t.Parallel()
	report := audit.Report{
		Holds: []audit.HoldReport{{Hold: "meshConfig", State: policy.HoldBroken, Reason: "it is gone"}, {Hold: "subset", State: policy.HoldTrue}},
		Services: []audit.FencedService{
			{Namespace: "shop", Name: "cart", Fence: "strict", By: "namespace shop", Ready: 2, HeldBy: []string{"subset"}},
			{Namespace: "shop", Name: "news", Fence: "prefer", By: "namespace shop"},
			{Namespace: "shop", Name: "till", Fence: "strict", By: "namespace shop", Ready: 1, Lacks: []inject.Lack{
				{Reason: inject.LackMeshConfigBroken, Message: "it is gone"}, {Reason: inject.LackRoute, Message: "a route is missing"},
			}},
		},
	}
	var out strings.Builder
	if err := writeAudit(&out, report); err != nil {
		t.Fatal(err)
	}
	want := `HOLD         STATE
meshConfig   broken: it is gone
subset       true

SERVICE     FENCE    BY               READY HERE   HELD BY
shop/cart   strict   namespace shop   2            subset
shop/news   prefer   namespace shop   0
shop/till   strict   namespace shop   1            nothing
not held: Service shop/till: it is gone [mesh-config-broken]
not held: Service shop/till: a route is missing [route-missing]
`
	var lines []string
	for line := range strings.Lines(out.String()) {
		lines = append(lines, strings.TrimRight(line, " \n")+"\n")
	}
	if diff := cmp.Diff(want, strings.Join(lines, "")); diff != "" {
		t.Errorf("audit (-want +got):\n%s", diff)
	}
}
