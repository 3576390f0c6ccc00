package certificate

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/policy/object"
)

// WebhookConfigurations names the two objects that tell the API server about the webhook.
type WebhookConfigurations struct {
	Mutating   string
	Validating string
	// Service is the one that is called. A webhook that calls another one is another installation's, and none of our
	// business, nor is its caBundle; without a Service all are ours.
	Service client.ObjectKey
}

// Trust returns nil when the caBundle of every webhook of ours in both configurations verifies leaf, as the API server will.
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

// Another returns the Service of another installation that a configuration calls; empty where none does.
func (w WebhookConfigurations) Another(ctx context.Context, reader client.Reader) (string, error) {
	configurations, err := w.read(ctx, reader)
	if err != nil {
		return "", err
	}
	for _, configuration := range configurations {
		if service := configuration.foreign(); service != "" {
			return service, nil
		}
	}
	return "", nil
}

// webhookConfiguration is a mutating or a validating one.
type webhookConfiguration struct {
	kind string
	client.Object
	service client.ObjectKey
}

func (c webhookConfiguration) String() string { return c.kind + " " + c.GetName() }

// clients points into the object: to where each of its webhooks is called that is ours.
func (c webhookConfiguration) clients() []*admissionv1.WebhookClientConfig {
	return slices.DeleteFunc(c.all(), func(target *admissionv1.WebhookClientConfig) bool { return c.other(target) != "" })
}

// foreign returns the Service that the webhooks call where none of them is ours, empty where some are or there are none.
func (c webhookConfiguration) foreign() string {
	service := ""
	for _, target := range c.all() {
		if service = c.other(target); service == "" {
			return ""
		}
	}
	return service
}

// other returns the Service that is called where it is not ours.
func (c webhookConfiguration) other(target *admissionv1.WebhookClientConfig) string {
	if target.Service == nil || c.service.Name == "" {
		return ""
	}
	if called := (client.ObjectKey{Namespace: target.Service.Namespace, Name: target.Service.Name}); called != c.service {
		return called.String()
	}
	return ""
}

func (c webhookConfiguration) all() []*admissionv1.WebhookClientConfig {
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
		{object.KindMutatingConfiguration, &admissionv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: w.Mutating}}, w.Service},
		{object.KindValidatingConfiguration, &admissionv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: w.Validating}}, w.Service},
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
