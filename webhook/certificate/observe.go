package certificate

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/policy/object"
	"github.com/meshfence/meshfence/registry"
)

// observeTimeout bounds what a scrape waits for, which is in memory once the caches are filled.
const observeTimeout = time.Second

// The states of a webhook configuration.
const (
	configurationOurs    = "ours"
	configurationForeign = "foreign"
	configurationMissing = "missing"
)

// observed is what a Serving knows beside the certificate that it serves.
type observed struct {
	// ca returns the CA that signs what is served, PEM.
	ca func(context.Context) ([]byte, error)
	// configurations reads the webhook configurations, and watched reports whether from memory.
	configurations func(context.Context) ([]webhookConfiguration, error)
	watched        bool
}

// observe reads what SelfSigned watches.
func (o SelfSignedOptions) observe(reader client.Reader) observed {
	return observed{
		ca: func(ctx context.Context) ([]byte, error) {
			var secret corev1.Secret
			err := reader.Get(ctx, client.ObjectKey{Namespace: o.Namespace, Name: o.Secret}, &secret)
			return secret.Data[corev1.TLSCertKey], err
		},
		configurations: func(ctx context.Context) ([]webhookConfiguration, error) { return o.Configurations.read(ctx, reader) },
		watched:        true,
	}
}

// observeMounted reads the CA that comes with a mounted certificate, and webhook configurations past any cache.
func observeMounted(path string, c WebhookConfigurations, reader client.Reader) observed {
	return observed{
		ca:             func(context.Context) ([]byte, error) { return os.ReadFile(path) },
		configurations: func(ctx context.Context) ([]webhookConfiguration, error) { return c.read(ctx, reader) },
	}
}

// Explain says what is wrong with the webhook configuration of a kind; empty where nothing is, or nothing is known of it.
func (c *Serving) Explain(ctx context.Context, kind string) string {
	found, err := c.configurations(ctx)
	if err != nil {
		return ""
	}
	switch state, service := stateOf(found, kind); state {
	case configurationMissing:
		return "it does not exist"
	case configurationForeign:
		return "it calls Service " + service
	}
	return ""
}

// stateOf returns the state of the webhook configuration of a kind among those that exist, and the Service that a foreign
// one calls.
func stateOf(found []webhookConfiguration, kind string) (state, service string) {
	for _, configuration := range found {
		if configuration.kind != kind {
			continue
		}
		if service := configuration.foreign(); service != "" {
			return configurationForeign, service
		}
		return configurationOurs, ""
	}
	return configurationMissing, ""
}

// Observe registers metrics of the certificates and of the webhook configurations; the error is that of a registerer that has
// them already.
func (c *Serving) Observe(registerer prometheus.Registerer) error {
	return registry.Add(registerer, &collector{
		serving: c,
		expiry: prometheus.NewDesc("meshfence_certificate_expiry_timestamp_seconds",
			"When the certificate that this replica serves ends, or the CA that signs it.", []string{"certificate"}, nil),
		configuration: prometheus.NewDesc("meshfence_webhook_configuration_state",
			"1 for the state of a webhook configuration as this replica sees it: ours, foreign (it calls another Service) or missing; nothing with --certificates=mounted, where it is not watched.",
			[]string{"configuration", "state"}, nil),
	})
}

type collector struct {
	serving               *Serving
	expiry, configuration *prometheus.Desc
}

// Describe sends the descriptions.
func (c *collector) Describe(to chan<- *prometheus.Desc) {
	to <- c.expiry
	to <- c.configuration
}

// Collect sends what is known.
func (c *collector) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), observeTimeout)
	defer cancel()
	if served, err := c.serving.GetCertificate(nil); err == nil {
		c.expires(to, "serving", served.Leaf)
	}
	if bundle, err := c.serving.ca(ctx); err == nil {
		if block, _ := pem.Decode(bundle); block != nil {
			if ca, err := x509.ParseCertificate(block.Bytes); err == nil {
				c.expires(to, "ca", ca)
			}
		}
	}
	if !c.serving.watched {
		return
	}
	found, err := c.serving.configurations(ctx)
	if err != nil {
		return
	}
	for label, kind := range map[string]string{"mutating": object.KindMutatingConfiguration, "validating": object.KindValidatingConfiguration} {
		is, _ := stateOf(found, kind)
		for _, state := range []string{configurationOurs, configurationForeign, configurationMissing} {
			value := 0.0
			if state == is {
				value = 1
			}
			to <- prometheus.MustNewConstMetric(c.configuration, prometheus.GaugeValue, value, label, state)
		}
	}
}

func (c *collector) expires(to chan<- prometheus.Metric, label string, certificate *x509.Certificate) {
	to <- prometheus.MustNewConstMetric(c.expiry, prometheus.GaugeValue, float64(certificate.NotAfter.Unix()), label)
}
