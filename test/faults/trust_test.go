package faults_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	install   = "meshfence-system"
	meshfence = "meshfence"
)

// trustFaults happen to the certificates and to the webhook configurations.
func trustFaults() []fault {
	return []fault{
		{
			name: "Secret of the CA deleted",
			strike: func(ctx context.Context, b *bed) error {
				return b.client.CoreV1().Secrets(install).Delete(ctx, "meshfence-ca", metav1.DeleteOptions{})
			},
			recovered: func(ctx context.Context, b *bed) error {
				_, err := b.client.CoreV1().Secrets(install).Get(ctx, "meshfence-ca", metav1.GetOptions{})
				return err
			},
			within: 20 * time.Second, said: []sign{logged("issued a serving certificate"), logged("wrote the CA")},
		},
		{
			name: "caBundles wiped", allowed: away,
			strike: func(ctx context.Context, b *bed) error { return b.bundles(ctx, nil) },
			within: 15 * time.Second, said: []sign{logged("wrote the CA")},
		},
		{
			name: "garbage in the caBundles", allowed: away,
			// The API server takes only what is PEM or blank.
			strike: func(ctx context.Context, b *bed) error { return b.bundles(ctx, []byte("\n")) },
			within: 15 * time.Second, said: []sign{logged("wrote the CA")},
		},
		{
			name: "webhook configurations deleted for 25 seconds", allowed: allowed{delay: true, open: true, closed: true},
			strike: func(ctx context.Context, b *bed) error {
				api := b.client.AdmissionregistrationV1()
				err := errors.Join(
					api.MutatingWebhookConfigurations().Delete(ctx, meshfence, metav1.DeleteOptions{}),
					api.ValidatingWebhookConfigurations().Delete(ctx, meshfence, metav1.DeleteOptions{}),
					pause(ctx, 25*time.Second),
				)
				if err != nil {
					return err
				}
				_, _, err = b.Kubectl(ctx, "", "apply", "-k", filepath.Join("..", "..", "manifests", "overlays", "self-signed"))
				return err
			},
			within: 30 * time.Second,
			said:   []sign{event("WebhookNotCalled"), metric(`meshfence_webhook_called{webhook="validating"}`, 0), logged("does not call the webhook")},
		},
	}
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
