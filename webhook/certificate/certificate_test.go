package certificate_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/meta/testrestmapper"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/meshfence/meshfence/webhook/certificate"
)

// keyPair is a certificate and its key, for tests.
type keyPair struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

func (p keyPair) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.certificate.Raw})
}

func newCA(t *testing.T, name string, notBefore, notAfter time.Time) keyPair {
	t.Helper()
	return newKeyPair(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotBefore: notBefore, NotAfter: notAfter,
		BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign,
	})
}

// newKeyPair signs template with its own key.
func newKeyPair(t *testing.T, template *x509.Certificate) keyPair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(1)
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return keyPair{certificate, key}
}

// recordingManager is a manager that is never started and remembers what was added to it.
type recordingManager struct {
	ctrl.Manager
	added []manager.Runnable
}

func (m *recordingManager) Add(r manager.Runnable) error {
	m.added = append(m.added, r)
	return nil
}

func newRecordingManager(t *testing.T) *recordingManager {
	t.Helper()
	mgr, err := ctrl.NewManager(&rest.Config{Host: "https://127.0.0.1:1"}, ctrl.Options{
		Logger: logr.Discard(),
		MapperProvider: func(*rest.Config, *http.Client) (meta.RESTMapper, error) {
			return testrestmapper.TestOnlyStaticRESTMapper(scheme.Scheme), nil
		},
		Metrics:    metricsserver.Options{BindAddress: "0"},
		Controller: config.Controller{SkipNameValidation: new(true)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return &recordingManager{Manager: mgr}
}

// mountedSecret is a directory such as kubelet mounts a Secret, and the certificates that are read from it.
type mountedSecret struct {
	*certificate.Serving
	dir string
}

func newMounted(t *testing.T) mountedSecret {
	t.Helper()
	dir := t.TempDir()
	certificates, err := certificate.Mounted(newRecordingManager(t), dir, certificate.Lookout{})
	if err != nil {
		t.Fatal(err)
	}
	return mountedSecret{certificates, dir}
}

func (m mountedSecret) write(t *testing.T, p keyPair) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		t.Fatal(err)
	}
	m.writeFile(t, "tls.crt", p.PEM())
	m.writeFile(t, "tls.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func (m mountedSecret) writeFile(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(m.dir, name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// startSource runs the source until the bubble's test ends, and checks that it ends well.
func startSource(t *testing.T, source interface{ Start(context.Context) error }) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- source.Start(logr.NewContext(ctx, logr.Discard())) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the source ended with %v", err)
		}
	})
	synctest.Wait()
}

// servedName returns the name of what is served now, or the error.
func servedName(source interface {
	GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error)
}) string {
	certificate, err := source.GetCertificate(nil)
	if err != nil {
		return err.Error()
	}
	return certificate.Leaf.Subject.CommonName
}

func TestMountedReloads(t *testing.T) {
	t.Parallel()
	m := newMounted(t)
	synctest.Test(t, func(t *testing.T) {
		named := func(name string) keyPair {
			return newCA(t, name, time.Now(), time.Now().Add(30*24*time.Hour))
		}
		startSource(t, m)
		if err := m.Check(nil); err == nil {
			t.Error("ready without a certificate")
		}

		time.Sleep(time.Hour) // far more failures than the library allows by default
		m.write(t, named("first"))
		time.Sleep(11 * time.Second)
		if diff := cmp.Diff("first", servedName(m)); diff != "" {
			t.Errorf("after the files came (-want +got):\n%s", diff)
		}
		if err := m.Check(nil); err != nil {
			t.Errorf("not ready: %v", err)
		}

		second := named("second")
		m.writeFile(t, "tls.crt", second.PEM()) // the key does not fit yet
		time.Sleep(time.Hour)
		if diff := cmp.Diff("first", servedName(m)); diff != "" {
			t.Errorf("half replaced (-want +got):\n%s", diff)
		}
		m.write(t, second)
		time.Sleep(11 * time.Second)
		if diff := cmp.Diff("second", servedName(m)); diff != "" {
			t.Errorf("replaced (-want +got):\n%s", diff)
		}
	})
}

func TestCertificatesAreNotReadyWhenExpired(t *testing.T) {
	t.Parallel()
	m := newMounted(t)
	synctest.Test(t, func(t *testing.T) {
		m.write(t, newCA(t, "short", time.Now(), time.Now().Add(time.Hour)))
		startSource(t, m)
		if !m.Healthy() {
			t.Error("unhealthy with a valid certificate")
		}
		time.Sleep(time.Hour + time.Second)
		err := m.Check(nil)
		if err == nil || !strings.Contains(err.Error(), "serving certificate expired at 2000-01-01T01:00:00Z") {
			t.Errorf("ready check with an expired certificate: %v", err)
		}
		if m.Healthy() {
			t.Error("healthy with an expired certificate")
		}
	})
}

func TestConfigureTLS(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		version uint16
		ok      bool
	}{
		"1.3": {tls.VersionTLS13, true},
		"1.2": {tls.VersionTLS12, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMounted(t)
			pair := newCA(t, "served", time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
			m.write(t, pair)
			ctx, cancel := context.WithCancel(t.Context())
			cancel() // the source reads the files once before it looks at the context
			if err := m.Start(ctx); err != nil {
				t.Fatal(err)
			}

			var configured tls.Config
			m.ConfigureTLS(&configured)
			here, there := net.Pipe()
			defer here.Close()
			go func() {
				defer there.Close()
				_ = tls.Server(there, &configured).HandshakeContext(t.Context()) // the client tells
			}()
			client := tls.Client(here, &tls.Config{
				MaxVersion: c.version,
				// The name is of no interest here, the certificate is.
				InsecureSkipVerify: true,
				VerifyConnection: func(state tls.ConnectionState) error {
					if !state.PeerCertificates[0].Equal(pair.certificate) {
						t.Error("another certificate was served")
					}
					return nil
				},
			})
			if err := client.HandshakeContext(t.Context()); (err == nil) != c.ok {
				t.Errorf("handshake: %v, want success %t", err, c.ok)
			}
		})
	}
}
