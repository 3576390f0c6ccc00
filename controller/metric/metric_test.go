package metric_test

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/meshfence/meshfence/controller/metric"
)

// TestForget: who does not lead any more says nothing of the cluster.
func TestForget(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	set, err := metric.New(registry)
	if err != nil {
		t.Fatal(err)
	}
	set.Backfill.WithLabelValues("done").Set(1)
	set.MeshConfigInSync.WithLabelValues("istio").Set(1)
	set.Findings.WithLabelValues("any", "denied").Set(1)
	set.Unheld.WithLabelValues("any").Set(1)
	set.CompanionsBlocked.Set(1)
	set.WithoutEndpoint.Set(1)
	set.WebhookCalled.WithLabelValues("mutating").Set(1)
	set.AuditPass.Set(1)
	set.BackfillPass.Set(1)
	set.Forget()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if m.GetGauge().GetValue() != 0 {
				t.Errorf("%s is %v, want nothing", f.GetName(), m.GetGauge().GetValue())
			}
		}
	}
	if _, err := metric.New(registry); err == nil {
		t.Error("names that are taken must be an error")
	}
}
