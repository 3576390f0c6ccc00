package certificate

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

	"github.com/meshfence/meshfence/policy/contest"
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

// CABundleKeeper is a reconciler that keeps the CABundle of the CA in Secret in every webhook of ours in both
// configurations, also when somebody resets it. It writes only where the CA is missing, as a patch of nothing but caBundle
// that an edit in between makes fail, so that what another writer adds stays. Where another writer keeps taking the CA
// out it slows down, and a configuration of another installation it leaves alone; both it tells of once.
// It must not run concurrently with itself.
type CABundleKeeper struct {
	Lookout

	Client client.Client
	Secret client.ObjectKey

	written  []byte // former CAs survive here when both configurations are reset at once
	contests map[string]*contest.Record
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
	now := time.Now()
	bundle, err := CABundle(now, secret.Data[corev1.TLSCertKey], former...)
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("secret %s: %w", k.Secret, err)
	}
	k.written = bundle

	next, yields, another := bundleResync, 0, false
	var failed []error
	for _, configuration := range configurations {
		foreign := k.isForeign(ctx, configuration)
		another = another || foreign
		wait, err := k.publish(ctx, configuration, bundle, now)
		failed = append(failed, err)
		if foreign || k.contest(configuration).Contested(now) {
			yields++
		}
		if wait > 0 {
			next = min(next, wait)
		}
	}
	k.found(another, yields)
	return reconcile.Result{RequeueAfter: next}, errors.Join(failed...)
}

func (k *CABundleKeeper) contest(configuration webhookConfiguration) *contest.Record {
	if k.contests == nil {
		k.contests = map[string]*contest.Record{}
	}
	r, ok := k.contests[configuration.String()]
	if !ok {
		r = &contest.Record{}
		k.contests[configuration.String()] = r
	}
	return r
}

// publish returns how long a write has to wait.
func (k *CABundleKeeper) publish(ctx context.Context, configuration webhookConfiguration, bundle []byte, now time.Time) (time.Duration, error) {
	ca := parseCAs(now, bundle)[0]
	before, differs := configuration.DeepCopyObject().(client.Object), false
	for _, target := range configuration.clients() {
		if slices.ContainsFunc(parseCAs(now, target.CABundle), ca.Equal) {
			continue
		}
		differs = true
		target.CABundle = bundle
	}
	if !differs {
		return 0, nil
	}
	record := k.contest(configuration)
	if wait := record.Wait(string(ca.Raw), now); wait > 0 {
		return wait, nil
	}
	patch := client.StrategicMergeFrom(before, client.MergeFromWithOptimisticLock{})
	if err := k.Client.Patch(ctx, configuration.Object, patch); err != nil {
		return 0, fmt.Errorf("write the caBundle of %s: %w", configuration, err)
	}
	logf.FromContext(ctx).Info("wrote the CA", "configuration", configuration.String())
	if record.Wrote(string(ca.Raw), now) {
		k.tell(ctx, configuration, reasonContested,
			"somebody else keeps taking the CA of meshfence out of its caBundles, such as cert-manager's cainjector or another installation: remove what does, or have it bring this CA")
	}
	return 0, nil
}
