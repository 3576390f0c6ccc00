package webhook

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"

	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/registry"
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

// other is the label of what is not in the table of kinds.
const other = "other"

// Metrics counts requests and findings. Its labels come from fixed sets.
type Metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	findings *prometheus.CounterVec
	held     prometheus.Gauge
	inFlight prometheus.Gauge
	yielded  prometheus.Gauge
}

// NewMetrics registers the metrics; the error is that of a registerer that has them already.
func NewMetrics(registerer prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
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
	}
	m.held = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "meshfence_admission_held_bytes",
		Help: "Bytes of the bodies of admission requests that are held now.",
	})
	m.inFlight = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "meshfence_admission_requests_in_flight",
		Help: "Admission requests that are being read or decided now.",
	})
	m.yielded = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "meshfence_webhook_configurations_yielded",
		Help: "Webhook configurations whose caBundle is left to another writer (the leader's).",
	})
	if err := registry.Add(registerer, m.requests, m.duration, m.findings, m.held, m.inFlight, m.yielded); err != nil {
		return nil, err
	}
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

// holds counts bytes that come, or go where they are negative.
func (m *Metrics) holds(bytes int64) { m.held.Add(float64(bytes)) }

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
