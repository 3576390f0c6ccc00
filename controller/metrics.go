package controller

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// The actions under which writes of companions are counted.
const (
	actionCreate = "create"
	actionUpdate = "update"
	actionDelete = "delete"
)

// metrics are those of the controller. Their labels come from fixed sets.
type metrics struct {
	companionWrites  *prometheus.CounterVec
	companionBlocked prometheus.Gauge
	contested        *prometheus.CounterVec
	backfill         *prometheus.GaugeVec
	meshConfigInSync *prometheus.GaugeVec
	standing         *prometheus.GaugeVec
	deserted         prometheus.Gauge
	unheld           *prometheus.GaugeVec
}

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		companionWrites: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "meshfence_companion_writes_total",
			Help: "Companions that were written, by what was done.",
		}, []string{"kind", "action"}),
		companionBlocked: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "meshfence_companions_blocked",
			Help: "Services without a companion that they need, because another object has its name.",
		}),
		contested: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "meshfence_contested_objects_total",
			Help: "Times that somebody else was found to keep changing an object that meshfence writes.",
		}, []string{"kind"}),
		backfill: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "meshfence_backfill_objects",
			Help: "Objects that were not as admission would store them, by what became of them; done counts since this replica leads.",
		}, []string{"state"}),
		meshConfigInSync: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "meshfence_mesh_config_in_sync",
			Help: "1 while a mesh ConfigMap holds what the scope wants, 0 while it does not.",
		}, []string{"configmap"}),
		standing: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "meshfence_standing_findings",
			Help: "Findings in objects that stand, by what would become of them at admission.",
		}, []string{"rule", "outcome"}),
		deserted: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "meshfence_strict_services_without_endpoints",
			Help: "Strict Services that have no ready endpoint in this cluster, as of the last look at everything.",
		}),
		unheld: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "meshfence_strict_services_not_held",
			Help: "Strict Services that no hold keeps in this cluster, by what is missing; one that lacks several things counts for each.",
		}, []string{"reason"}),
	}
	for _, c := range []prometheus.Collector{
		m.companionWrites, m.companionBlocked, m.backfill, m.meshConfigInSync, m.standing, m.deserted, m.unheld, m.contested,
	} {
		if err := registerer.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return m, nil
}

// forget takes back the gauges of a term of leadership that is over; the next leader sets its own.
func (m *metrics) forget() {
	for _, gauge := range []*prometheus.GaugeVec{m.backfill, m.meshConfigInSync, m.standing} {
		gauge.Reset()
	}
	m.companionBlocked.Set(0)
	m.deserted.Set(0)
}
