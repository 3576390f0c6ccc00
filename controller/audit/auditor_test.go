package audit_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/meshfence/meshfence/controller/audit"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
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
	auditor := audit.Auditor{
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

// TestAbout leaves out what an object does to other hosts, however many those are.
func TestAbout(t *testing.T) {
	t.Parallel()
	config, err := policy.ParseConfig(policy.Source{}, []byte("apiVersion: config.meshfence.io/v1alpha1\nkind: FenceConfig\n"+
		"controlPlane: {clusters: [m1c1]}\nholds: [meshConfig]\nscope: {default: strict}\n"))
	if err != nil {
		t.Fatal(err)
	}
	entry := &object.Object{
		Kind: object.KindServiceEntry, Metadata: object.Metadata{Namespace: "app", Name: "claims"}, ServiceEntry: &object.ServiceEntry{},
	}
	for i := range 100 {
		entry.ServiceEntry.Hosts = append(entry.ServiceEntry.Hosts, fmt.Sprintf("s%d.shop.svc.cluster.local", i))
	}
	auditor := audit.Auditor{Index: policy.NewIndex(config), Guard: leak.NewGuard(leak.Rules()), Now: time.Now}
	auditor.Index.SetObject(entry)
	var got []string
	about, err := auditor.About(t.Context(), entry.Key(), "s77.shop.svc.cluster.local")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range about.Denied {
		got = append(got, f.Rule+" "+f.Field())
	}
	if diff := cmp.Diff([]string{"serviceentry-fenced-host spec.hosts[77]"}, got); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
}
