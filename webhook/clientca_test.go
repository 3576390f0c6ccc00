package webhook_test

import (
	"crypto/tls"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"

	"github.com/meshfence/meshfence/test/testbed"
	"github.com/meshfence/meshfence/webhook"
)

func newClientCA(t *testing.T) *testbed.ClientCA {
	t.Helper()
	ca, err := testbed.NewClientCA()
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// clientOf returns the certificate of a client of a CA.
func clientOf(t *testing.T, ca *testbed.ClientCA, commonName string, dnsNames ...string) *tls.Certificate {
	t.Helper()
	certificate, key, err := ca.Client(commonName, dnsNames...)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	return &pair
}

// serves reports whether the server answers a client that shows a certificate, if it has one, on a new connection.
func (s *startedServer) serves(t *testing.T, certificate *tls.Certificate) bool {
	t.Helper()
	config := &tls.Config{InsecureSkipVerify: true}
	if certificate != nil {
		// Also where the server asks for one of another CA.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate, nil }
	}
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Post(s.url+"/read", "application/json", http.NoBody)
	if err != nil {
		return false
	}
	response.Body.Close()
	return true
}

// requiring returns who may call by a file that holds a CA, and how many lines are logged of it.
func requiring(t *testing.T, ca *testbed.ClientCA, names ...string) (clients *webhook.ClientCA, file string, told *atomic.Int64) {
	t.Helper()
	file, told = filepath.Join(t.TempDir(), "ca.crt"), &atomic.Int64{}
	if err := os.WriteFile(file, ca.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	clients, err := webhook.NewClientCA(file, names, funcr.New(func(_, _ string) { told.Add(1) }, funcr.Options{}))
	if err != nil {
		t.Fatal(err)
	}
	return clients, file, told
}

func TestClientCA(t *testing.T) {
	t.Parallel()
	ours, theirs := newClientCA(t), newClientCA(t)
	named, _, _ := requiring(t, ours, "api", "api.example.com")
	anybody, _, _ := requiring(t, ours)
	for name, test := range map[string]struct {
		clients     *webhook.ClientCA
		certificate *tls.Certificate
		want        bool
	}{
		"by its common name":        {named, clientOf(t, ours, "api"), true},
		"by its DNS name":           {named, clientOf(t, ours, "other", "a", "api.example.com"), true},
		"by another name":           {named, clientOf(t, ours, "node", "node.example.com"), false},
		"of another CA":             {named, clientOf(t, theirs, "api"), false},
		"none":                      {named, nil, false},
		"by any name":               {anybody, clientOf(t, ours, "node"), true},
		"by any name, another CA":   {anybody, clientOf(t, theirs, "node"), false},
		"none, by any name":         {anybody, nil, false},
		"none, where none is asked": {nil, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := startServer(t, test.clients).serves(t, test.certificate); got != test.want {
				t.Errorf("served: %t", got)
			}
		})
	}
}

// The CA may be replaced at any time. What is no CA replaces none, and is told of once.
func TestClientCAIsReplaced(t *testing.T) {
	t.Parallel()
	before, after := newClientCA(t), newClientCA(t)
	clients, file, told := requiring(t, before)
	s := startServer(t, clients)
	old, young := clientOf(t, before, "api"), clientOf(t, after, "api")
	for _, step := range []struct {
		content    []byte
		old, young bool
	}{{before.PEM(), true, false}, {[]byte("none"), true, false}, {append(before.PEM(), after.PEM()...), true, true}, {after.PEM(), false, true}, {nil, false, true}} {
		if err := os.WriteFile(file, step.content, 0o600); err != nil {
			t.Fatal(err)
		}
		if got := s.serves(t, old); got != step.old {
			t.Errorf("%.30s: the client of the first CA is served: %t", step.content, got)
		}
		if got := s.serves(t, young); got != step.young {
			t.Errorf("%.30s: the client of the second CA is served: %t", step.content, got)
		}
	}
	if told.Load() != 2 {
		t.Errorf("told %d times of two files without a CA", told.Load())
	}
	for content, want := range map[string]string{"none": "holds no certificate", "": "no such file"} {
		missing := filepath.Join(t.TempDir(), "ca.crt")
		if content != "" {
			if err := os.WriteFile(missing, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := webhook.NewClientCA(missing, nil, logr.Discard()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("at the start: %v", err)
		}
	}
}
