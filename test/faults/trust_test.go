package faults_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	install   = "meshfence-system"
	meshfence = "meshfence"

	// The overlays of manifests, by who keeps the certificates.
	selfSigned  = "self-signed"
	certManager = "cert-manager"
)

// trustFaults happen to the certificates and to the webhook configurations, whoever keeps those.
func trustFaults() []fault {
	return slices.Concat([]fault{
		{
			name: "Secret of the CA deleted", strike: secretsDeleted("meshfence-ca"), recovered: secretsThere("meshfence-ca"),
			within: 20 * time.Second, said: []sign{logged("issued a serving certificate"), logged("wrote the CA")},
		},
		{
			// The CA gets another key, while what it signed before is served until the files are replaced.
			name: "both Secrets deleted, with cert-manager", overlay: certManager, allowed: away,
			strike: secretsDeleted("meshfence-ca", "meshfence-tls"), recovered: secretsThere("meshfence-ca", "meshfence-tls"),
			within: 60 * time.Second,
		},
	}, webhookFaults("", "", logged("wrote the CA")), webhookFaults(certManager, ", with cert-manager"))
}

// webhookFaults happen to the webhook configurations. What is said is that somebody has brought the caBundles back, which
// cert-manager does before meshfence looks.
func webhookFaults(overlay, with string, said ...sign) []fault {
	return []fault{
		{
			name: "caBundles wiped" + with, overlay: overlay, allowed: away,
			strike: func(ctx context.Context, b *bed) error { return b.bundles(ctx, nil) },
			within: 15 * time.Second, said: said,
		},
		{
			name: "garbage in the caBundles" + with, overlay: overlay, allowed: away,
			// The API server takes only what is PEM or blank.
			strike: func(ctx context.Context, b *bed) error { return b.bundles(ctx, []byte("\n")) },
			within: 15 * time.Second, said: said,
		},
		{
			name: "webhook configurations deleted for 35 seconds" + with, overlay: overlay, allowed: allowed{delay: true, open: true, closed: true},
			strike: func(ctx context.Context, b *bed) error {
				api := b.client.AdmissionregistrationV1()
				err := errors.Join(
					api.MutatingWebhookConfigurations().Delete(ctx, meshfence, metav1.DeleteOptions{}),
					api.ValidatingWebhookConfigurations().Delete(ctx, meshfence, metav1.DeleteOptions{}),
					pause(ctx, 35*time.Second), // it is told of after two looks, one each 15 seconds
				)
				if err != nil {
					return err
				}
				return b.installAgain(ctx)
			},
			within: 30 * time.Second,
			said:   []sign{event("WebhookNotCalled"), metric(`meshfence_webhook_called{webhook="validating"}`, 0), logged("does not call the webhook")},
		},
	}
}

func secretsDeleted(names ...string) func(context.Context, *bed) error {
	return func(ctx context.Context, b *bed) error {
		var errs []error
		for _, name := range names {
			errs = append(errs, b.client.CoreV1().Secrets(install).Delete(ctx, name, metav1.DeleteOptions{}))
		}
		return errors.Join(errs...)
	}
}

func secretsThere(names ...string) func(context.Context, *bed) error {
	return func(ctx context.Context, b *bed) error {
		var errs []error
		for _, name := range names {
			_, err := b.client.CoreV1().Secrets(install).Get(ctx, name, metav1.GetOptions{})
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	}
}

// installAgain applies the manifests.
func (b *bed) installAgain(ctx context.Context) error {
	_, _, err := b.Kubectl(ctx, "", "apply", "-k", filepath.Join("..", "..", "manifests", "overlays", b.overlay))
	return err
}

// bundles puts something else into every caBundle; nothing takes them out.
func (b *bed) bundles(ctx context.Context, bundle []byte) error {
	api := b.client.AdmissionregistrationV1()
	mutating, err := api.MutatingWebhookConfigurations().Get(ctx, meshfence, metav1.GetOptions{})
	if err != nil {
		return err
	}
	validating, err := api.ValidatingWebhookConfigurations().Get(ctx, meshfence, metav1.GetOptions{})
	if err != nil {
		return err
	}
	patch := func(webhooks int) []byte {
		var operations []map[string]string
		for i := range webhooks {
			path := fmt.Sprintf("/webhooks/%d/clientConfig/caBundle", i)
			if bundle == nil {
				operations = append(operations, map[string]string{"op": "remove", "path": path})
			} else {
				operations = append(operations, map[string]string{"op": "replace", "path": path, "value": base64.StdEncoding.EncodeToString(bundle)})
			}
		}
		text, _ := json.Marshal(operations) // strings can be encoded
		return text
	}
	_, err = api.MutatingWebhookConfigurations().Patch(ctx, meshfence, types.JSONPatchType, patch(len(mutating.Webhooks)), metav1.PatchOptions{})
	if err != nil {
		return err
	}
	_, err = api.ValidatingWebhookConfigurations().Patch(ctx, meshfence, types.JSONPatchType, patch(len(validating.Webhooks)), metav1.PatchOptions{})
	return err
}
