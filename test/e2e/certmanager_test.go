package e2e_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"github.com/meshfence/meshfence/test/testbed"
)

// certManagerBed is meshfence from the overlay cert-manager, on a cluster with cert-manager's controllers.
type certManagerBed struct {
	*suite
	client    kubernetes.Interface
	rules     dynamic.ResourceInterface
	namespace string
}

// Not shown: cert-manager's own webhook, which does not run here, and the minute that a kubelet takes to update a
// mounted Secret. The requests alone do not tell whether the CA keeps its key: this cert-manager leaves the CA of before
// in the bundles, so that replicas are trusted either way. An older cainjector replaces it, and needs the key.
func TestCertManagerRenewalUnderLoad(t *testing.T) {
	b := startCertManagerBed(t)
	eventually(t, "every webhook has the CA and every replica the certificate", b.inForce)
	ca, leaf := b.certificate(t, "meshfence-ca"), b.certificate(t, "meshfence-tls")

	requests := underLoad(t, b.fenced, func() {
		b.renew(t, "meshfence-ca")
		eventually(t, "the CA is renewed", func(ctx context.Context) error { return b.differs(ctx, "meshfence-ca", ca) })
		// Only now do the webhook configurations get the new CA, while replicas serve certificates of the old one
		// until their files are replaced and read.
		b.renew(t, "meshfence")
		eventually(t, "the certificate is renewed", func(ctx context.Context) error { return b.differs(ctx, "meshfence-tls", leaf) })
		eventually(t, "every webhook has the new CA and every replica the new certificate", b.inForce)
	})
	if requests == 0 {
		t.Error("no request was sent while the certificates changed")
	}
	if !bytes.Equal(ca.RawSubjectPublicKeyInfo, b.certificate(t, "meshfence-ca").RawSubjectPublicKeyInfo) {
		t.Error("the renewed CA has another key")
	}
}

func startCertManagerBed(t *testing.T) *certManagerBed {
	t.Helper()
	// Cleanup still needs the cluster when the context of the test has ended.
	ctx := context.WithoutCancel(t.Context())
	cluster, err := testbed.Start(ctx, testbed.Options{Number: 3, Name: "m1c1"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Stop)
	if err := cluster.StartCertManager(ctx); err != nil {
		t.Fatal(err)
	}
	meshfence, err := cluster.Install(ctx, testbed.Installation{Overlay: "cert-manager", FenceConfig: defaultConfig})
	if err != nil {
		t.Fatalf("%v\n%s", err, cluster.Logs(20))
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(meshfence.Logs(20), cluster.Logs(20))
		}
		meshfence.Stop()
	})
	client, err := kubernetes.NewForConfig(cluster.Config())
	if err != nil {
		t.Fatal(err)
	}
	objects, err := dynamic.NewForConfig(cluster.Config())
	if err != nil {
		t.Fatal(err)
	}
	b := &certManagerBed{suite: &suite{Cluster: cluster, meshfence: meshfence, config: defaultConfig}, client: client}
	b.namespace = b.strictNamespace(t)
	b.rules = objects.Resource(schema.GroupVersionResource{
		Group: "networking.istio.io", Version: "v1", Resource: "destinationrules",
	}).Namespace(b.namespace)
	return b
}

// fenced sends a DestinationRule that the mutating webhook must change, or else the validating one refuses it. Both
// may fail: the first lets pass what the second then refuses.
func (b *certManagerBed) fenced(ctx context.Context) error {
	var object unstructured.Unstructured
	if err := yaml.Unmarshal([]byte(bare(b.namespace)), &object.Object); err != nil {
		return err
	}
	got, err := b.rules.Create(ctx, &object, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err != nil {
		return err
	}
	subsets, _, err := unstructured.NestedSlice(got.Object, "spec", "subsets")
	if err != nil || len(subsets) == 0 {
		return fmt.Errorf("the rule was not fenced: %v (%w)", got.Object["spec"], err)
	}
	return nil
}

// renew asks for a renewal in the way of cmctl renew.
func (b *certManagerBed) renew(t *testing.T, certificate string) {
	t.Helper()
	patch := fmt.Sprintf(`[{"op": "add", "path": "/status/conditions/-", "value": {"type": "Issuing", "status": "True",
"reason": "ManuallyTriggered", "message": "test", "lastTransitionTime": %q}}]`, time.Now().UTC().Format(time.RFC3339))
	// The API server refuses it while the condition of the issuance before is there, which outlives the Secret's change.
	eventually(t, certificate+" can be renewed", func(ctx context.Context) error {
		_, _, err := b.Kubectl(ctx, "", "patch", "certificate", certificate, "-n", "meshfence-system",
			"--subresource=status", "--type=json", "-p", patch)
		return err
	})
}

func (b *certManagerBed) secret(ctx context.Context, name string) (*corev1.Secret, error) {
	return b.client.CoreV1().Secrets("meshfence-system").Get(ctx, name, metav1.GetOptions{})
}

// certificate returns the certificate of a Secret.
func (b *certManagerBed) certificate(t *testing.T, secret string) *x509.Certificate {
	t.Helper()
	s, err := b.secret(t.Context(), secret)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := onlyCertificate(s, corev1.TLSCertKey)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

func (b *certManagerBed) differs(ctx context.Context, secret string, old *x509.Certificate) error {
	s, err := b.secret(ctx, secret)
	if err != nil {
		return err
	}
	certificate, err := onlyCertificate(s, corev1.TLSCertKey)
	if err != nil {
		return err
	}
	if certificate.Equal(old) {
		return fmt.Errorf("the certificate is still %s", describe(old))
	}
	return nil
}

// inForce tells whether the CA of its Secret is the one that issued the serving certificate, every webhook trusts it,
// and every replica serves that certificate to a client that connects now and trusts nothing else.
func (b *certManagerBed) inForce(ctx context.Context) error {
	caSecret, err := b.secret(ctx, "meshfence-ca")
	if err != nil {
		return err
	}
	ca, err := onlyCertificate(caSecret, corev1.TLSCertKey)
	if err != nil {
		return err
	}
	secret, err := b.secret(ctx, "meshfence-tls")
	if err != nil {
		return err
	}
	issuer, err := onlyCertificate(secret, "ca.crt")
	if err != nil {
		return err
	}
	if !issuer.Equal(ca) {
		return fmt.Errorf("the certificate is of the CA %s, want %s", describe(issuer), describe(ca))
	}
	leaf, err := onlyCertificate(secret, corev1.TLSCertKey)
	if err != nil {
		return err
	}
	if err := b.trusted(ctx, ca); err != nil {
		return err
	}
	return b.served(ctx, leaf, ca)
}

// trusted tells whether every webhook trusts the CA. The cainjector adds it to those of before that have not expired:
// CAInjectorMerging in internal/cainjector/feature/features.go of cert-manager.
func (b *certManagerBed) trusted(ctx context.Context, ca *x509.Certificate) error {
	bundles, err := b.bundles(ctx)
	if err != nil {
		return err
	}
	for name, bundle := range bundles {
		certificates, err := parseBundle(bundle)
		if err != nil {
			return fmt.Errorf("bundle of webhook %s: %w", name, err)
		}
		if !slices.ContainsFunc(certificates, ca.Equal) {
			return fmt.Errorf("webhook %s trusts %s, not %s", name, describe(certificates...), describe(ca))
		}
	}
	return nil
}

// served tells whether every replica serves the certificate to a client that trusts only the CA.
func (b *certManagerBed) served(ctx context.Context, leaf, ca *x509.Certificate) error {
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	dialer := tls.Dialer{Config: &tls.Config{RootCAs: roots, ServerName: "meshfence.meshfence-system.svc"}}
	for i := range b.meshfence.Replicas() {
		connection, err := dialer.DialContext(ctx, "tcp", b.meshfence.WebhookAddress(i))
		if err != nil {
			return err
		}
		got := connection.(*tls.Conn).ConnectionState().PeerCertificates[0]
		if err := connection.Close(); err != nil {
			return err
		}
		if !got.Equal(leaf) {
			return fmt.Errorf("replica %d serves %s, want %s", i, describe(got), describe(leaf))
		}
	}
	return nil
}

// bundles returns the caBundle of every webhook of both configurations.
func (b *certManagerBed) bundles(ctx context.Context) (map[string][]byte, error) {
	api := b.client.AdmissionregistrationV1()
	m, err := api.MutatingWebhookConfigurations().Get(ctx, "meshfence", metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	v, err := api.ValidatingWebhookConfigurations().Get(ctx, "meshfence", metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	bundles := map[string][]byte{}
	for _, w := range m.Webhooks {
		bundles[w.Name] = w.ClientConfig.CABundle
	}
	for _, w := range v.Webhooks {
		bundles[w.Name] = w.ClientConfig.CABundle
	}
	if len(bundles) != len(m.Webhooks)+len(v.Webhooks) {
		return nil, fmt.Errorf("two of the webhooks have one name: %d bundles", len(bundles))
	}
	return bundles, nil
}

// onlyCertificate returns the one certificate of a key of a Secret.
func onlyCertificate(secret *corev1.Secret, key string) (*x509.Certificate, error) {
	certificates, err := parseBundle(secret.Data[key])
	if err != nil {
		return nil, fmt.Errorf("%s of secret %s: %w", key, secret.Name, err)
	}
	if len(certificates) != 1 {
		return nil, fmt.Errorf("%d certificates in %s of secret %s, want 1", len(certificates), key, secret.Name)
	}
	return certificates[0], nil
}

// describe names certificates by serial number and start.
func describe(certificates ...*x509.Certificate) string {
	var out []string
	for _, c := range certificates {
		out = append(out, fmt.Sprintf("%x from %s", c.SerialNumber, c.NotBefore.Format(time.TimeOnly)))
	}
	return fmt.Sprintf("%q", out)
}
