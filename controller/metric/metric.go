package metric

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/meshfence/meshfence/registry"
)

// The actions under which writes of companions are counted.
const (
	ActionCreate = "create"
	ActionUpdate = "update"
	ActionDelete = "delete"
)

// Set is the metrics of the controller. Their labels come from fixed sets.
type Set struct {
	CompanionWrites   *prometheus.CounterVec
	CompanionsBlocked prometheus.Gauge
	Contested         *prometheus.CounterVec
	Backfill          *prometheus.GaugeVec
	MeshConfigInSync  *prometheus.GaugeVec
	MeshConfigFull    *prometheus.GaugeVec
	Findings          *prometheus.GaugeVec
	WithoutEndpoint   prometheus.Gauge
	Unheld            *prometheus.GaugeVec
	WebhookCalled     *prometheus.GaugeVec
	// AuditPass and BackfillPass are when everything was last judged, and when nothing was last left to do.
	AuditPass, BackfillPass prometheus.Gauge
}

// New returns the metrics, which the registerer takes. It fails if one of their names is taken.
func New(registerer prometheus.Registerer) (*Set, error) {
	m := &Set{
		CompanionWrites: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "meshfence_companion_writes_total",
			Help: "Companions that were written, by what was done (the leader's).",
		}, []string{"kind", "action"}),
		CompanionsBlocked: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "meshfence_companions_blocked",
			Help: "Services without a companion that they need, because another object has its name (the leader's).",
		}),
		Contested: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "meshfence_contested_objects_total",
			Help: "Times that somebody else was found to keep changing an object that meshfence writes (the leader's).",
		}, []string{"kind"}),
		Backfill: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "meshfence_backfill_objects",
			Help: "Objects that were not as admission would store them, by what became of them; done counts since this replica leads (the leader's).",
		}, []string{"state"}),
		MeshConfigInSync: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "meshfence_mesh_config_in_sync",
			Help: "1 while a mesh ConfigMap holds what the scope wants, 0 while it does not (the leader's).",
		}, []string{"configmap"}),
		MeshConfigFull: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "meshfence_mesh_config_full_ratio",
			Help: "How much is taken of what a mesh ConfigMap may hold, of 1 (the leader's).",
		}, []string{"configmap"}),
		Findings: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "meshfence_existing_findings",
			Help: "Findings in existing objects, by what would become of them at admission (the leader's).",
		}, []string{"rule", "outcome"}),
		WithoutEndpoint: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "meshfence_strict_services_without_endpoints",
			Help: "Strict Services that have no ready endpoint in this cluster, as of the last look at everything (the leader's).",
		}),
		Unheld: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "meshfence_strict_services_not_held",
			Help: "Strict Services that no hold keeps in this cluster, by what is missing; one that lacks several things counts for each (the leader's).",
		}, []string{"reason"}),
		WebhookCalled: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "meshfence_webhook_called",
			Help: "1 while the API server calls the webhook, 0 while it does not (the leader's).",
		}, []string{"webhook"}),
		AuditPass: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "meshfence_audit_last_pass_timestamp_seconds",
			Help: "When the audit last judged everything; 0 if it has not since this replica leads (the leader's).",
		}),
		BackfillPass: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "meshfence_backfill_last_pass_timestamp_seconds",
			Help: "When the backfill last left nothing undone; 0 if it has not since this replica leads (the leader's).",
		}),
	}
	err := registry.Add(registerer, m.CompanionWrites, m.CompanionsBlocked, m.Backfill, m.MeshConfigInSync, m.MeshConfigFull, m.Findings,
		m.WithoutEndpoint, m.Unheld, m.Contested, m.WebhookCalled, m.AuditPass, m.BackfillPass)
	if err != nil {
		return nil, err
	}
	return m, nil
}

// Forget takes back the gauges of a term of leadership that is over; the next leader sets its own.
func (m *Set) Forget() {
	for _, gauge := range []*prometheus.GaugeVec{m.Backfill, m.MeshConfigInSync, m.MeshConfigFull, m.Findings, m.Unheld, m.WebhookCalled} {
		gauge.Reset()
	}
	for _, gauge := range []prometheus.Gauge{m.CompanionsBlocked, m.WithoutEndpoint, m.AuditPass, m.BackfillPass} {
		gauge.Set(0)
	}
}
