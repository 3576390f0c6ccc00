package webhook

import (
	"context"
	"crypto/x509"
	"fmt"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// WebhookConfigurations names the two objects that tell the API server about the webhook.
type WebhookConfigurations struct {
	Mutating   string
	Validating string
}

// Trust returns nil when the caBundle of every webhook in both configurations verifies leaf, as the API server will.
// A configuration that does not exist calls nobody and is passed over: deleting one must not let the other's certificate
// expire.
func (w WebhookConfigurations) Trust(ctx context.Context, reader client.Reader, leaf *x509.Certificate) error {
	configurations, err := w.read(ctx, reader)
	if err != nil {
		return err
	}
	for _, configuration := range configurations {
		for _, target := range configuration.clients() {
			roots := x509.NewCertPool()
			roots.AppendCertsFromPEM(target.CABundle)
			if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots}); err != nil {
				return fmt.Errorf("%s: verify with its caBundle: %w", configuration, err)
			}
		}
	}
	return nil
}

// webhookConfiguration is a mutating or a validating one.
type webhookConfiguration struct {
	kind string
	client.Object
}

func (c webhookConfiguration) String() string { return c.kind + " " + c.GetName() }

// clients points into the object: to where each of its webhooks is called.
func (c webhookConfiguration) clients() []*admissionv1.WebhookClientConfig {
	var out []*admissionv1.WebhookClientConfig
	switch o := c.Object.(type) {
	case *admissionv1.MutatingWebhookConfiguration:
		for i := range o.Webhooks {
			out = append(out, &o.Webhooks[i].ClientConfig)
		}
	case *admissionv1.ValidatingWebhookConfiguration:
		for i := range o.Webhooks {
			out = append(out, &o.Webhooks[i].ClientConfig)
		}
	}
	return out
}

// read returns those of the two that exist.
func (w WebhookConfigurations) read(ctx context.Context, reader client.Reader) ([]webhookConfiguration, error) {
	var found []webhookConfiguration
	for _, c := range []webhookConfiguration{
		{"MutatingWebhookConfiguration", &admissionv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: w.Mutating}}},
		{"ValidatingWebhookConfiguration", &admissionv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: w.Validating}}},
	} {
		err := reader.Get(ctx, client.ObjectKeyFromObject(c.Object), c.Object)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", c, err)
		}
		found = append(found, c)
	}
	return found, nil
}
