package apiserver_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/cert"
	ctrlwebhook "sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/meshfence/meshfence/test/testbed"
)

// The variables that make a process the webhook that only allows.
const (
	emptyAddress      = "MESHFENCE_EMPTY_WEBHOOK"
	emptyCertificates = "MESHFENCE_EMPTY_CERTIFICATES"
)

const (
	// emptyPath is what it is asked at.
	emptyPath = "/allow"
	// refusedName is the one name that it does not allow, by which a test sees that it is asked.
	refusedName = "refused"
)

// serveEmpty is the webhook that only allows: the server of controller-runtime with a handler that reads nothing but what
// the server has decoded already.
func serveEmpty(address, certificates string) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		panic(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		panic(err)
	}
	server := ctrlwebhook.NewServer(ctrlwebhook.Options{Host: host, Port: number, CertDir: certificates})
	server.Register(emptyPath, &admission.Webhook{Handler: admission.HandlerFunc(
		func(_ context.Context, r admission.Request) admission.Response {
			return admission.ValidationResponse(r.Name != refusedName, "")
		})})
	if err := server.Start(context.Background()); err != nil {
		panic(err)
	}
}

// startEmpty starts that webhook beside a cluster and has the API server call it: in Namespaces with the label webhooks=one
// as a validating webhook, and with webhooks=two as a mutating one, too.
func startEmpty(ctx context.Context, c *testbed.Cluster) (*testbed.Process, error) {
	dir, bundle, err := writeCertificates(c, "empty")
	if err != nil {
		return nil, err
	}
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	address := netip.AddrPortFrom(c.Address, 9443).String()
	process, err := testbed.StartProcess(ctx, testbed.Command{
		Name: "empty", Path: program, Dir: dir, Env: []string{emptyAddress + "=" + address, emptyCertificates + "=" + dir},
		Ready: func(ctx context.Context) error {
			dialer := tls.Dialer{Config: anyServer()}
			connection, err := dialer.DialContext(ctx, "tcp", address)
			if err == nil {
				err = connection.Close()
			}
			return err
		},
	})
	if err != nil {
		return nil, err
	}
	return process, registerEmpty(ctx, c, "https://"+address+emptyPath, bundle)
}

// anyServer trusts whoever listens.
func anyServer() *tls.Config {
	return &tls.Config{InsecureSkipVerify: true} //nolint:gosec // Only whether it listens counts.
}

// writeCertificates writes a certificate for the address of a cluster, and its key, as controller-runtime reads them. It
// returns their folder and the bundle that a webhook configuration trusts.
func writeCertificates(c *testbed.Cluster, name string) (dir string, bundle []byte, err error) {
	if dir, err = testbed.StateDir(name); err != nil {
		return "", nil, err
	}
	certificate, key, err := cert.GenerateSelfSignedCertKey(c.Address.String(), nil, nil)
	if err != nil {
		return "", nil, err
	}
	for name, content := range map[string][]byte{"tls.crt": certificate, "tls.key": key} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return "", nil, err
		}
	}
	block, _ := pem.Decode(certificate[bytes.LastIndex(certificate, []byte("-----BEGIN")):])
	if block == nil {
		return "", nil, errors.New("the certificate has no CA")
	}
	return dir, pem.EncodeToMemory(block), nil
}

func registerEmpty(ctx context.Context, c *testbed.Cluster, url string, bundle []byte) error {
	client, err := kubernetes.NewForConfig(c.Config())
	if err != nil {
		return err
	}
	calls := admissionregistrationv1.WebhookClientConfig{URL: &url, CABundle: bundle}
	none := admissionregistrationv1.SideEffectClassNone
	rules := []admissionregistrationv1.RuleWithOperations{{
		Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update},
		Rule:       admissionregistrationv1.Rule{APIGroups: []string{"networking.istio.io"}, APIVersions: []string{"*"}, Resources: []string{"*"}},
	}}
	in := func(labels ...string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "webhooks", Operator: metav1.LabelSelectorOpIn, Values: labels}}}
	}
	name := metav1.ObjectMeta{Name: "empty.example.com"}
	_, err = client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(ctx, &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: name, Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name: name.Name, ClientConfig: calls, Rules: rules, NamespaceSelector: in("one", "two"), SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	_, err = client.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(ctx, &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: name, Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name: name.Name, ClientConfig: calls, Rules: rules, NamespaceSelector: in("two"), SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
		}},
	}, metav1.CreateOptions{})
	return err
}
