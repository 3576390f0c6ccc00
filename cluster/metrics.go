package cluster

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/registry"
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
	// inForce has one series, whose label is the hash of the config, and since is when that was put in force.
	inForce *prometheus.GaugeVec
	since   prometheus.Gauge
	// localities is a gauge like reloaded.
	localities prometheus.Gauge
	active     *prometheus.GaugeVec
	faults     *prometheus.GaugeVec

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
		inForce: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "meshfence_config_info",
			Help: "The FenceConfig in force on this replica, by the SHA-256 of its text; always 1.",
		}, []string{"hash"}),
		since: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "meshfence_config_last_reload_success_timestamp_seconds",
			Help: "When the FenceConfig in force was put in force on this replica.",
		}),
		localities: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "meshfence_localities_known",
			Help: "1 while hold locality knows the localities of this cluster or does not need to, 0 while older ones are in force, or none.",
		}),
		active: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "meshfence_hold_active",
			Help: "1 while a hold that the FenceConfig names is true by what this replica sees, 0 while it is not and counts for nothing.",
		}, []string{"hold"}),
		faults: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "meshfence_hold_fault",
			Help: "1 while a hold that the FenceConfig names is in that state by what this replica sees: broken (it cannot hold) or behind (it will).",
		}, []string{"hold", "state"}),
	}
	if err := registry.Add(registerer, m.reloads, m.reloaded, m.inForce, m.since, m.localities, m.active, m.faults); err != nil {
		return nil, err
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

// configInForce says which config is in force.
func (m *Metrics) configInForce(config *policy.Config) {
	m.inForce.Reset()
	m.inForce.WithLabelValues(config.Hash()).Set(1)
	m.since.SetToCurrentTime()
}

func (m *Metrics) localitiesKnown(known bool) {
	if known {
		m.localities.Set(1)
	} else {
		m.localities.Set(0)
	}
}

// holdsActive says which of the named holds are active, and what the others are.
func (m *Metrics) holdsActive(config *policy.Config) {
	m.active.Reset()
	m.faults.Reset()
	active := config.Active()
	for _, hold := range config.Holds.Each() {
		value := 0.0
		if active.Has(hold) {
			value = 1
		}
		m.active.WithLabelValues(hold.String()).Set(value)
		for _, state := range []string{policy.HoldBroken, policy.HoldBehind} {
			value := 0.0
			if config.Fault(hold).State() == state {
				value = 1
			}
			m.faults.WithLabelValues(hold.String(), state).Set(value)
		}
	}
}

// RegisterServices adds the gauge of Services by fence. The function is called at every scrape and returns
// the numbers by the name of the fence.
func (m *Metrics) RegisterServices(count func() map[string]int) error {
	return registry.Add(m.registerer, servicesCollector{
		desc:  prometheus.NewDesc("meshfence_services", "Services by fence.", []string{"fence"}, nil),
		count: count,
	})
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
