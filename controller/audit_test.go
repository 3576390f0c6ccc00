package controller_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/meshfence/meshfence/controller"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/leak"
)

// TestReady counts the endpoints that a client would be sent to: under hold locality none without a locality.
func TestReady(t *testing.T) {
	t.Parallel()
	pod := &corev1.ObjectReference{Kind: "Pod"}
	endpoints := map[string]discoveryv1.Endpoint{
		"in a zone":          {TargetRef: pod, Zone: new("a")},
		"without a zone":     {TargetRef: pod},
		"written by hand":    {},
		"by hand, in a zone": {Zone: new("a")},
		"not ready":          {TargetRef: pod, Zone: new("a"), Conditions: discoveryv1.EndpointConditions{Ready: new(false)}},
	}
	for name, test := range map[string]struct {
		holds, fence string
		want         map[string]int
	}{
		"locality": {"[locality]\nlocalities: {m1c1: [eu/*]}", "strict",
			map[string]int{"in a zone": 1, "without a zone": 0, "written by hand": 0, "by hand, in a zone": 0, "not ready": 0}},
		"locality beside meshConfig": {"[meshConfig, locality]\nlocalities: {m1c1: [eu/*]}", "strict",
			map[string]int{"in a zone": 1, "without a zone": 0, "written by hand": 0, "by hand, in a zone": 0, "not ready": 0}},
		"localities unknown": {"[locality]", "strict",
			map[string]int{"in a zone": 1, "without a zone": 1, "written by hand": 1, "by hand, in a zone": 1, "not ready": 0}},
		"locality, prefer": {"[locality]\nlocalities: {m1c1: [eu/*]}", "prefer",
			map[string]int{"in a zone": 1, "without a zone": 1, "written by hand": 1, "by hand, in a zone": 1, "not ready": 0}},
		"meshConfig": {"[meshConfig]", "strict",
			map[string]int{"in a zone": 1, "without a zone": 1, "written by hand": 1, "by hand, in a zone": 1, "not ready": 0}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := map[string]int{}
			for endpoint, e := range endpoints {
				got[endpoint] = readyOf(t, test.holds, test.fence, e)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("ready endpoints (-want +got):\n%s", diff)
			}
		})
	}
}

// readyOf returns what an audit counts for a Service with one endpoint.
func readyOf(t *testing.T, holds, fence string, endpoint discoveryv1.Endpoint) int {
	t.Helper()
	config, err := policy.ParseConfig(policy.Source{}, []byte("apiVersion: config.meshfence.io/v1alpha1\nkind: FenceConfig\n"+
		"controlPlane: {clusters: [m1c1]}\nholds: "+holds+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	cart := metav1.ObjectMeta{Namespace: "shop", Name: "cart", Annotations: map[string]string{policy.FenceKey: fence}}
	slice := metav1.ObjectMeta{Namespace: "shop", Name: "cart-1", Labels: map[string]string{discoveryv1.LabelServiceName: "cart"}}
	auditor := controller.Auditor{
		Index: policy.NewIndex(config),
		Guard: leak.NewGuard(leak.Rules()),
		Reader: fake.NewClientBuilder().WithObjects(
			&corev1.Service{ObjectMeta: cart, Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "cart"}}},
			&discoveryv1.EndpointSlice{ObjectMeta: slice, Endpoints: []discoveryv1.Endpoint{endpoint}},
		).Build(),
		Now: time.Now,
	}
	report, err := auditor.Audit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Services) != 1 {
		t.Fatalf("%d fenced Services, want 1", len(report.Services))
	}
	return report.Services[0].Ready
}

// TestStandingOf leaves out what an object does to other hosts, as far as its findings name all of them.
func TestStandingOf(t *testing.T) {
	t.Parallel()
	own, other, many, none := leak.Finding{Rule: "own", Hosts: []string{"other", "own"}}, leak.Finding{Rule: "other", Hosts: []string{"other"}},
		leak.Finding{Rule: "many", Hosts: []string{"other"}, MoreHosts: 1}, leak.Finding{Rule: "none"}
	all := []leak.Finding{own, other, many, none}
	got := controller.Standing{Verdict: leak.Verdict{Denied: all, Warned: all, Audited: all, Exempted: all}}.Of("own")
	for _, group := range got.ByOutcome() {
		var rules []string
		for _, f := range group.Findings {
			rules = append(rules, f.Rule)
		}
		if diff := cmp.Diff([]string{"own", "many", "none"}, rules); diff != "" {
			t.Errorf("%s (-want +got):\n%s", group.Outcome, diff)
		}
	}
	if all[1].Rule != "other" {
		t.Error("the findings that were given have changed")
	}
}
