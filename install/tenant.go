package install

import (
	"context"
	"fmt"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Tenant returns the namespace of the installation that the API server calls; empty where there is none.
func Tenant(ctx context.Context, reader client.Reader) (string, error) {
	var configuration admissionv1.ValidatingWebhookConfiguration
	err := reader.Get(ctx, client.ObjectKey{Name: "meshfence"}, &configuration)
	if client.IgnoreNotFound(err) != nil {
		return "", fmt.Errorf("look for another installation: %w", err)
	}
	for _, w := range configuration.Webhooks {
		if w.ClientConfig.Service != nil {
			return w.ClientConfig.Service.Namespace, nil
		}
	}
	return "", nil
}
