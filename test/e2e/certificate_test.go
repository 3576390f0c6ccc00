package e2e_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	ctrlwebhook "sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/meshfence/meshfence/test/testbed"
	"github.com/meshfence/meshfence/webhook/certificate"
)

// certificateRights is all that SelfSigned needs, and leader election.
const certificateRights = `
apiVersion: v1
kind: Namespace
metadata: {name: meshfence}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: fence, namespace: meshfence}
rules:
- {apiGroups: [""], resources: [secrets], verbs: [create]}
- {apiGroups: [""], resources: [secrets], resourceNames: [fence-ca], verbs: [list, watch, update]}
- {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [create, get, update]}
- {apiGroups: [""], resources: [events], verbs: [create, patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: fence, namespace: meshfence}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: fence}
subjects: [{kind: ServiceAccount, name: fence, namespace: meshfence}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: fence}
rules:
- apiGroups: [admissionregistration.k8s.io]
  resources: [mutatingwebhookconfigurations, validatingwebhookconfigurations]
  resourceNames: [fence]
  verbs: [list, watch, patch]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: fence}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: fence}
subjects: [{kind: ServiceAccount, name: fence, namespace: meshfence}]
`

// certificateWebhook registers a kind of webhook that every ConfigMap in namespaces with the label "watched" needs.
const certificateWebhook = `
apiVersion: admissionregistration.k8s.io/v1
kind: %[1]sWebhookConfiguration
metadata: {name: fence}
webhooks:
- name: configmaps.meshfence.io
  admissionReviewVersions: [v1]
  sideEffects: None
  failurePolicy: Fail
  namespaceSelector: {matchLabels: {watched: "yes"}}
  rules: [{apiGroups: [""], apiVersions: [v1], resources: [configmaps], operations: [CREATE]}]
  clientConfig: {url: "https://localhost:%[2]d/admit"}
`

const leafDuration = 6 * time.Second

// certificateBed is an API server whose mutating webhook is one replica and whose validating webhook is another one.
type certificateBed struct {
	cluster   *testbed.Cluster
	client    kubernetes.Interface
	namespace string
	replicas  [2]*certificate.Serving
}

func TestCertificateRotationUnderLoad(t *testing.T) {
	// Cleanup still needs the cluster when the context of the test has ended.
	c, err := testbed.Start(context.WithoutCancel(t.Context()), testbed.Options{WithoutIstio: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	if err := c.Apply(t.Context(), certificateRights); err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(c.Config())
	if err != nil {
		t.Fatal(err)
	}
	b := &certificateBed{cluster: c, client: client, namespace: c.CreateNamespace(t, map[string]string{"watched": "yes"})}
	for i, kind := range []string{"Mutating", "Validating"} {
		var port int
		b.replicas[i], port = startReplica(t, c.As("system:serviceaccount:meshfence:fence"))
		if err := c.Apply(t.Context(), fmt.Sprintf(certificateWebhook, kind, port)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "both replicas are ready", func(context.Context) error {
		return errors.Join(b.replicas[0].Check(nil), b.replicas[1].Check(nil))
	})
	eventually(t, "both replicas are trusted", b.admitted)
	first := b.ca(t)

	requests := underLoad(t, b.admitted, func() {
		for range 3 {
			old := b.serials(t)
			eventually(t, "both replicas serve a renewed certificate", func(context.Context) error {
				if now := b.serials(t); now[0] == old[0] || now[1] == old[1] {
					return fmt.Errorf("serials %v after %v", now, old)
				}
				return nil
			})
		}
		b.deleteCA(t)
		eventually(t, "both replicas serve a certificate of the new CA", b.servesCA)
	})
	t.Logf("%d requests were admitted", requests)

	second := b.ca(t)
	if second.Equal(first) {
		t.Fatal("the CA is still the same")
	}
	eventually(t, "the bundles hold both CAs", func(ctx context.Context) error { return b.holds(ctx, second, first) })

	reset := []byte(`[{"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": "Cg=="}]`)
	if _, err := b.client.AdmissionregistrationV1().MutatingWebhookConfigurations().
		Patch(t.Context(), "fence", types.JSONPatchType, reset, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a reset bundle is repaired", func(ctx context.Context) error { return b.holds(ctx, second, first) })
	eventually(t, "requests are admitted again", b.admitted)
}

// startReplica starts a manager with a webhook that admits everything, and returns its port.
func startReplica(t *testing.T, user *rest.Config) (*certificate.Serving, int) {
	t.Helper()
	mgr, err := ctrl.NewManager(user, ctrl.Options{
		Logger:                        logr.Discard(),
		Metrics:                       metricsserver.Options{BindAddress: "0"},
		Controller:                    config.Controller{SkipNameValidation: new(true)},
		LeaderElection:                true,
		LeaderElectionNamespace:       "meshfence",
		LeaderElectionID:              "fence",
		LeaderElectionReleaseOnCancel: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	certificates, err := certificate.SelfSigned(mgr, certificate.SelfSignedOptions{
		Namespace:    "meshfence",
		Service:      "fence",
		Lookout:      certificate.Lookout{Configurations: certificate.WebhookConfigurations{Mutating: "fence", Validating: "fence"}},
		DNSNames:     []string{"localhost"},
		CADuration:   time.Hour,
		LeafDuration: leafDuration,
		Grace:        time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	server := ctrlwebhook.NewServer(ctrlwebhook.Options{Host: "127.0.0.1", Port: port, TLSOpts: []func(*tls.Config){
		certificates.ConfigureTLS, func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} },
	}})
	admit := &admission.Webhook{Handler: admission.HandlerFunc(func(context.Context, admission.Request) admission.Response {
		return admission.Allowed("")
	})}
	server.Register("/admit", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close") // so that every request verifies the certificate
		admit.ServeHTTP(w, r)
	}))
	if err := mgr.Add(server); err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the manager ended with %v", err)
		}
	})
	return certificates, port
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// underLoad keeps sending requests while work runs, of which none may fail, and returns how many there were.
func underLoad(t *testing.T, request func(context.Context) error, work func()) int64 {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var sent atomic.Int64
	var senders sync.WaitGroup
	for range 4 {
		senders.Go(func() {
			for ctx.Err() == nil {
				// Not with ctx: its end is not a failure of the request under way.
				if err := request(t.Context()); err != nil {
					t.Errorf("request %d: %v", sent.Load(), err)
					return
				}
				sent.Add(1)
			}
		})
	}
	defer senders.Wait()
	defer cancel()
	work()
	cancel()
	senders.Wait()
	return sent.Load()
}

// admitted sends a ConfigMap through both webhooks.
func (b *certificateBed) admitted(ctx context.Context) error {
	_, err := b.client.CoreV1().ConfigMaps(b.namespace).Create(ctx,
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "probe-"}},
		metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	return err
}

func (b *certificateBed) serials(t *testing.T) [2]string {
	t.Helper()
	var out [2]string
	for i, r := range b.replicas {
		certificate, err := r.GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		out[i] = certificate.Leaf.SerialNumber.String()
	}
	return out
}

func (b *certificateBed) readCA(ctx context.Context) (*x509.Certificate, error) {
	secret, err := b.client.CoreV1().Secrets("meshfence").Get(ctx, "fence-ca", metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	if by := secret.Labels["app.kubernetes.io/managed-by"]; by != "meshfence" {
		return nil, fmt.Errorf("the Secret is managed by %q, want meshfence", by)
	}
	cas, err := parseBundle(secret.Data["tls.crt"])
	if err != nil {
		return nil, err
	}
	if len(cas) != 1 {
		return nil, fmt.Errorf("%d certificates in tls.crt, want 1", len(cas))
	}
	return cas[0], nil
}

func (b *certificateBed) ca(t *testing.T) *x509.Certificate {
	t.Helper()
	ca, err := b.readCA(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func (b *certificateBed) deleteCA(t *testing.T) {
	t.Helper()
	if err := b.client.CoreV1().Secrets("meshfence").Delete(t.Context(), "fence-ca", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

// servesCA tells whether both replicas serve certificates of the CA in the Secret.
func (b *certificateBed) servesCA(ctx context.Context) error {
	ca, err := b.readCA(ctx)
	if err != nil {
		return err
	}
	for _, r := range b.replicas {
		certificate, err := r.GetCertificate(nil)
		if err != nil {
			return err
		}
		if err := certificate.Leaf.CheckSignatureFrom(ca); err != nil {
			return err
		}
	}
	return nil
}

// holds tells whether the bundles of both webhooks are these certificates.
func (b *certificateBed) holds(ctx context.Context, want ...*x509.Certificate) error {
	api := b.client.AdmissionregistrationV1()
	m, err := api.MutatingWebhookConfigurations().Get(ctx, "fence", metav1.GetOptions{})
	if err != nil {
		return err
	}
	v, err := api.ValidatingWebhookConfigurations().Get(ctx, "fence", metav1.GetOptions{})
	if err != nil {
		return err
	}
	for _, bundle := range [][]byte{m.Webhooks[0].ClientConfig.CABundle, v.Webhooks[0].ClientConfig.CABundle} {
		got, err := parseBundle(bundle)
		if err != nil {
			return err
		}
		if len(got) != len(want) {
			return fmt.Errorf("%d CAs in a bundle, want %d", len(got), len(want))
		}
		for i := range want {
			if !got[i].Equal(want[i]) {
				return fmt.Errorf("CA %d in a bundle is another one", i)
			}
		}
	}
	return nil
}

func parseBundle(bundle []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		out = append(out, certificate)
	}
	return out, nil
}
