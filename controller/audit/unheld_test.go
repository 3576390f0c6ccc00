package audit_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/tools/events"

	"github.com/meshfence/meshfence/controller/audit"
	"github.com/meshfence/meshfence/controller/metric"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// TestUnheld: a strict Service that nothing holds is told of once when it has been so for a while, and again only when
// it lacks something else; very many of one Namespace are told of together.
func TestUnheld(t *testing.T) {
	t.Parallel()
	config, err := policy.ParseConfig(policy.Source{}, []byte("apiVersion: config.meshfence.io/v1alpha1\nkind: FenceConfig\n"+
		"controlPlane: {clusters: [m1c1]}\nholds: [meshConfig, subset]\nscope: {default: strict}\n"))
	if err != nil {
		t.Fatal(err)
	}
	index, recorder, registry := policy.NewIndex(config), events.NewFakeRecorder(100), prometheus.NewRegistry()
	metrics, err := metric.New(registry)
	if err != nil {
		t.Fatal(err)
	}
	unheld := audit.NewUnheld(index, recorder, metrics)
	broken := &policy.HoldFault{Reason: "ConfigMap istio-system/istio does not exist"}
	rule := func() {
		index.SetObject(&object.Object{
			Kind:            object.KindDestinationRule,
			Metadata:        object.Metadata{Namespace: "shop", Name: "cart"},
			DestinationRule: &object.DestinationRule{Host: "cart", Subsets: []object.RuleSubset{{Name: policy.ReservedSubset, Labels: map[string]string{policy.ClusterLabel: "m1c1"}}}},
		})
	}
	const of = "Warning NotHeld nothing keeps the traffic of "
	now := time.Unix(0, 0)
	for _, step := range []struct {
		name    string
		change  func()
		wait    time.Duration
		again   time.Duration
		events  []string
		reasons string
	}{
		{"all is well", func() { index.SetService(hostname.Host{Namespace: "shop", Name: "cart"}, nil) }, 0, 0, nil, ""},
		{"meshConfig breaks", func() { index.SetConfig(config.WithMeshConfigFault(broken)) }, 0, 10 * time.Second, nil, ""},
		{"for a moment", func() {}, 4 * time.Second, 6 * time.Second, nil, ""},
		{"and is fixed", func() { index.SetConfig(config) }, time.Second, 0, nil, ""},
		{"it breaks again", func() { index.SetConfig(config.WithMeshConfigFault(broken)) }, time.Second, 10 * time.Second, nil, ""},
		{"for long", func() {}, 10 * time.Second, 0, []string{of + "this strict Service in the cluster: " + broken.Reason},
			"companion-missing=1 mesh-config-broken=1 route-missing=1"},
		{"nothing changes", func() {}, time.Hour, 0, nil, "companion-missing=1 mesh-config-broken=1 route-missing=1"},
		{"there is a rule", rule, time.Second, 0, []string{of + "this strict Service in the cluster: " + broken.Reason}, "mesh-config-broken=1 route-missing=1"},
		{"very many Services come", func() {
			for i := range 7 {
				index.SetService(hostname.Host{Namespace: "many", Name: fmt.Sprint("s", i)}, nil)
			}
		}, time.Second, 10 * time.Second, nil, "mesh-config-broken=1 route-missing=1"},
		{"and stay", func() {}, 10 * time.Second, 0, []string{of + "7 strict Services in the cluster, s0 among them: " + broken.Reason},
			"companion-missing=7 mesh-config-broken=8 route-missing=8"},
		{"all is well again", func() { index.SetConfig(config) }, time.Second, 0, nil, ""},
	} {
		step.change()
		now = now.Add(step.wait)
		again := unheld.Look(t.Context(), now)
		var told []string
		for len(recorder.Events) > 0 {
			told = append(told, <-recorder.Events)
		}
		if diff := cmp.Diff(step.events, told); diff != "" || again != step.again {
			t.Errorf("%s: again after %v, want %v; events (-want +got):\n%s", step.name, again, step.again, diff)
		}
		if got := reasons(t, registry); got != step.reasons {
			t.Errorf("%s: %s, want %s", step.name, got, step.reasons)
		}
	}
}

// reasons returns the gauge of Services that are not held, where it is not 0.
func reasons(t *testing.T, registry *prometheus.Registry) string {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "meshfence_strict_services_not_held" && m.GetGauge().GetValue() > 0 {
				list = append(list, fmt.Sprintf("%s=%v", m.GetLabel()[0].GetValue(), m.GetGauge().GetValue()))
			}
		}
	}
	return strings.Join(list, " ")
}
