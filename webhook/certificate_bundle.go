package webhook

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

const (
	// maxFormerCAs bounds a caBundle when CAs are replaced over and over.
	maxFormerCAs = 3
	// bundleResync is how long an expired CA may stay in a caBundle.
	bundleResync = time.Hour
)

// CABundle returns the caBundle, PEM, that holds the CA in current first and then the newest of the other CAs in former,
// at most three, so that replicas that still serve a certificate of a former CA stay trusted. What is expired, is not a
// CA or is not a certificate is left out of former, but is an error in current.
func CABundle(now time.Time, current []byte, former ...[]byte) ([]byte, error) {
	first := parseCAs(now, current)
	if len(first) == 0 {
		return nil, errors.New("the CA must be a valid CA certificate that has not expired")
	}
	var others []*x509.Certificate
	for _, bundle := range former {
		for _, ca := range parseCAs(now, bundle) {
			if !ca.Equal(first[0]) && !slices.ContainsFunc(others, ca.Equal) {
				others = append(others, ca)
			}
		}
	}
	slices.SortStableFunc(others, func(a, b *x509.Certificate) int { return b.NotBefore.Compare(a.NotBefore) })
	others = others[:min(len(others), maxFormerCAs)]

	var out bytes.Buffer
	for _, ca := range append(first[:1], others...) {
		out.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw}))
	}
	return out.Bytes(), nil
}

func parseCAs(now time.Time, bundle []byte) []*x509.Certificate {
	var out []*x509.Certificate
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		ca, err := x509.ParseCertificate(block.Bytes)
		if block.Type == "CERTIFICATE" && err == nil && ca.IsCA && now.Before(ca.NotAfter) {
			out = append(out, ca)
		}
	}
	return out
}

// CABundleKeeper is a reconciler that keeps the CABundle of the CA in Secret in every webhook of both configurations,
// also when somebody resets it. It writes only what differs, as a patch of nothing but caBundle that an edit in between
// makes fail. It must not run concurrently with itself.
type CABundleKeeper struct {
	Client         client.Client
	Secret         client.ObjectKey
	Configurations WebhookConfigurations

	written []byte // former CAs survive here when both configurations are reset at once
}

// Reconcile brings both configurations in line, whatever the request names.
func (k *CABundleKeeper) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	var secret corev1.Secret
	if err := k.Client.Get(ctx, k.Secret, &secret); err != nil {
		// The certificate source of every replica makes a missing Secret, which is an event.
		if apierrors.IsNotFound(err) {
			return reconcile.Result{}, nil
		}
		return reconcile.Result{}, fmt.Errorf("read the CA: %w", err)
	}
	configurations, err := k.Configurations.read(ctx, k.Client)
	if err != nil {
		return reconcile.Result{}, err
	}
	former := [][]byte{k.written}
	for _, configuration := range configurations {
		for _, target := range configuration.clients() {
			former = append(former, target.CABundle)
		}
	}
	bundle, err := CABundle(time.Now(), secret.Data[corev1.TLSCertKey], former...)
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("secret %s: %w", k.Secret, err)
	}
	k.written = bundle

	var failed []error
	for _, configuration := range configurations {
		failed = append(failed, k.publish(ctx, configuration, bundle))
	}
	return reconcile.Result{RequeueAfter: bundleResync}, errors.Join(failed...)
}

func (k *CABundleKeeper) publish(ctx context.Context, configuration webhookConfiguration, bundle []byte) error {
	before, differs := configuration.DeepCopyObject().(client.Object), false
	for _, target := range configuration.clients() {
		differs = differs || !bytes.Equal(target.CABundle, bundle)
		target.CABundle = bundle
	}
	if !differs {
		return nil
	}
	patch := client.StrategicMergeFrom(before, client.MergeFromWithOptimisticLock{})
	if err := k.Client.Patch(ctx, configuration.Object, patch); err != nil {
		return fmt.Errorf("write the caBundle of %s: %w", configuration, err)
	}
	logf.FromContext(ctx).Info("wrote the CA", "configuration", configuration.String())
	return nil
}
