package webhook

import (
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/leak"
)

// The outcomes under which requests are counted.
const (
	outcomeAllowed    = "allowed"
	outcomePatched    = "patched"
	outcomeWarned     = leak.OutcomeWarned
	outcomeDenied     = leak.OutcomeDenied
	outcomeBadRequest = "bad_request"
	outcomeNotReady   = "not_ready"
	outcomeShed       = "shed"
	outcomeTooLarge   = "too_large"
	outcomeError      = "error"
)

// The outcomes under which reloads of the config are counted.
const (
	reloadSuccess = "success"
	reloadInvalid = "invalid"
	reloadDeleted = "deleted"
)

// other is the label of what is not in the routing table.
const other = "other"

// Metrics counts requests, findings and reloads of the config. Its labels come from fixed sets.
type Metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	findings *prometheus.CounterVec
	reloads  *prometheus.CounterVec
	reloaded prometheus.Gauge
	// localities is a gauge like reloaded.
	localities prometheus.Gauge
	active     *prometheus.GaugeVec
	held       prometheus.Gauge
	yielded    prometheus.Gauge

	registerer prometheus.Registerer
}

// NewMetrics registers the metrics; the error is that of a registerer that has them already.
func NewMetrics(registerer prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		registerer: registerer,
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "meshfence_admission_requests_total",
			Help: "Admission requests by what became of them.",
		}, []string{"path", "kind", "operation", "outcome"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "meshfence_admission_duration_seconds",
			Help:    "Time to decide an admission request, without decoding the review.",
			Buckets: prometheus.ExponentialBuckets(0.00005, 4, 9),
		}, []string{"path", "kind"}),
		findings: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "meshfence_findings_total",
			Help: "Findings in admitted and refused objects by what became of them.",
		}, []string{"rule", "outcome"}),
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
	m.held = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "meshfence_admission_held_bytes",
		Help: "Bytes of the bodies of admission requests that are held now.",
	})
	m.yielded = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "meshfence_webhook_configurations_yielded",
		Help: "Webhook configurations whose caBundle this replica leaves to another writer.",
	})
	for _, c := range []prometheus.Collector{
		m.requests, m.duration, m.findings, m.reloads, m.reloaded, m.localities, m.active, m.held, m.yielded,
	} {
		if err := registerer.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	m.reloaded.Set(1)
	m.localities.Set(1)
	return m, nil
}

// begin starts the clock of a request; the function that it returns stops it.
func (m *Metrics) begin(path, kind string, operation admissionv1.Operation) func(outcome string) {
	start := time.Now()
	return func(outcome string) {
		m.duration.WithLabelValues(path, kind).Observe(time.Since(start).Seconds())
		m.requests.WithLabelValues(path, kind, operationLabel(operation), outcome).Inc()
	}
}

// Yielded counts the webhook configurations that are left to another writer.
func (m *Metrics) Yielded() prometheus.Gauge { return m.yielded }

// inFlight counts bytes that come, or go where they are negative.
func (m *Metrics) inFlight(bytes int64) { m.held.Add(float64(bytes)) }

func operationLabel(operation admissionv1.Operation) string {
	known := []admissionv1.Operation{admissionv1.Create, admissionv1.Update, admissionv1.Delete, admissionv1.Connect}
	if slices.Contains(known, operation) {
		return string(operation)
	}
	return other
}

func (m *Metrics) found(v leak.Verdict) {
	for _, group := range v.ByOutcome() {
		for _, f := range group.Findings {
			m.findings.WithLabelValues(f.Rule, group.Outcome).Add(float64(1 + f.More))
		}
	}
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
