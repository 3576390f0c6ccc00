package e2e_test

import (
	"context"
	"crypto/tls"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meshfence/meshfence/test/testbed"
)

// The API server shows a certificate, as docs/operations.md says how to have it do, and is served; whoever else calls is
// refused by TLS. The probes of a kubelet, and the doctor, need none.
func TestClientCertificate(t *testing.T) {
	t.Parallel() // on a cluster of its own
	ca, err := testbed.NewClientCA()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, content string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	client := func(name string) (*tls.Certificate, string, string) {
		t.Helper()
		certificate, key, err := ca.Client(name)
		if err != nil {
			t.Fatal(err)
		}
		pair, err := tls.X509KeyPair(certificate, key)
		if err != nil {
			t.Fatal(err)
		}
		return &pair, string(certificate), string(key)
	}
	api, certificate, key := client("kube-apiserver")
	node, _, _ := client("kubelet")
	write("client.crt", certificate)
	write("client.key", key)
	write("kubeconfig.yaml", documented(t, "/etc/kubernetes/webhooks", "kubeconfig.yaml", dir))
	admission := write("admission.yaml", documented(t, "/etc/kubernetes/webhooks", "admission.yaml", dir))

	ctx := context.WithoutCancel(t.Context()) // namespaces are deleted when the test has ended
	cluster, err := testbed.Start(ctx, testbed.Options{Number: 11, Name: "m1c11", AdmissionConfig: admission})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Stop)
	installed, err := cluster.Install(ctx, testbed.Installation{
		FenceConfig: "{apiVersion: config.meshfence.io/v1alpha1, kind: FenceConfig, controlPlane: {clusters: [m1c11]}, holds: [subset]}",
		Args:        []string{"--client-ca-file=" + write("ca.crt", string(ca.PEM())), "--client-names=kube-apiserver"},
	})
	if err != nil {
		t.Fatal(err) // the API server must have called it
	}
	t.Cleanup(installed.Stop)
	s := &suite{Cluster: cluster, meshfence: installed}
	for i := range installed.Replicas() {
		if s.hasLogged(t, i, "client didn't provide a certificate") {
			t.Errorf("replica %d has refused somebody already, such as itself", i)
		}
		for name, test := range map[string]struct {
			certificate *tls.Certificate
			served      bool
		}{"none": {nil, false}, "another name's": {node, false}, "the API server's": {api, true}} {
			if served := answers(installed.WebhookAddress(i), test.certificate); served != test.served {
				t.Errorf("replica %d, certificate: %s: served: %t", i, name, served)
			}
		}
	}
	_, bad := s.examine(t)
	for _, r := range bad {
		if r.Check == "called" || r.Check == "trusted" || r.Check == "same-config" || r.Check == "replicas" {
			t.Errorf("the doctor says %+v", r)
		}
	}
}

// documented returns a file that docs/operations.md shows, with another folder in the place of its own.
func documented(t *testing.T, folder, name, instead string) string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, shown, found := strings.Cut(string(page), "    # "+folder+"/"+name+"\n")
	if !found {
		t.Fatalf("the page does not show %s", name)
	}
	shown, _, _ = strings.Cut(shown, "\n\n")
	return strings.ReplaceAll(shown, folder, instead)
}

// hasLogged reports whether a replica has logged something.
func (s *suite) hasLogged(t *testing.T, replica int, text string) bool {
	t.Helper()
	lines, err := s.meshfence.LogLines(replica)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(strings.Join(lines, "\n"), text)
}

// answers reports whether a webhook answers what is no review.
func answers(address string, certificate *tls.Certificate) bool {
	config := &tls.Config{InsecureSkipVerify: true}
	if certificate != nil {
		config.Certificates = []tls.Certificate{*certificate}
	}
	transport := &http.Transport{TLSClientConfig: config}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport, Timeout: time.Minute}).Post("https://"+address+"/validate", "application/json", strings.NewReader("{}"))
	if err != nil {
		return false
	}
	response.Body.Close()
	return true
}
