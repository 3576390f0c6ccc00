package cluster

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/meshfence/meshfence/policy"
)

// The outcomes under which reloads of the config are counted.
const (
	reloadSuccess = "success"
	reloadInvalid = "invalid"
	reloadDeleted = "deleted"
)

// Metrics tell what of the cluster is in force. Their labels come from fixed sets.
type Metrics struct {
	reloads  *prometheus.CounterVec
	reloaded prometheus.Gauge
	// localities is a gauge like reloaded.
	localities prometheus.Gauge
	active     *prometheus.GaugeVec

	registerer prometheus.Registerer
}

// NewMetrics registers the metrics; the error is that of a registerer that has them already.
func NewMetrics(registerer prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		registerer: registerer,
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "meshfence_config_reloads_total",
			Help: "Changes of the FenceConfig that were seen.",
		}, []string{"outcome"}),
		reloaded: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "meshfence_config_last_reload_success",
			Help: "1 while the FenceConfig in the cluster is the one in force, 0 while an older one is.",
		}),
		localities: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "meshfence_localities_known",
			Help: "1 while hold locality knows the localities of this cluster or does not need to, 0 while older ones are in force, or none.",
		}),
		active: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "meshfence_hold_active",
			Help: "1 while a hold that the FenceConfig names is true by what this replica sees, 0 while it is not and counts for nothing.",
		}, []string{"hold"}),
	}
	for _, c := range []prometheus.Collector{m.reloads, m.reloaded, m.localities, m.active} {
		if err := registerer.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	m.reloaded.Set(1)
	m.localities.Set(1)
	return m, nil
}

func (m *Metrics) configReloaded(outcome string) {
	m.reloads.WithLabelValues(outcome).Inc()
	if outcome == reloadSuccess {
		m.reloaded.Set(1)
	} else {
		m.reloaded.Set(0)
	}
}

func (m *Metrics) localitiesKnown(known bool) {
	if known {
		m.localities.Set(1)
	} else {
		m.localities.Set(0)
	}
}

// holdsActive says which of the named holds are active.
func (m *Metrics) holdsActive(config *policy.Config) {
	m.active.Reset()
	active := config.Active()
	for _, hold := range config.Holds.Each() {
		value := 0.0
		if active.Has(hold) {
			value = 1
		}
		m.active.WithLabelValues(hold.String()).Set(value)
	}
}

// RegisterServices adds the gauge of Services by fence. The function is called at every scrape and returns
// the numbers by the name of the fence.
func (m *Metrics) RegisterServices(count func() map[string]int) error {
	collector := servicesCollector{
		desc:  prometheus.NewDesc("meshfence_services", "Services by fence.", []string{"fence"}, nil),
		count: count,
	}
	if err := m.registerer.Register(collector); err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	return nil
}

type servicesCollector struct {
	desc  *prometheus.Desc
	count func() map[string]int
}

// Describe sends the one description.
func (c servicesCollector) Describe(to chan<- *prometheus.Desc) { to <- c.desc }

// Collect sends one gauge for each fence.
func (c servicesCollector) Collect(to chan<- prometheus.Metric) {
	for fence, n := range c.count() {
		to <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, float64(n), fence)
	}
}
