package doctor_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/meshfence/meshfence/doctor"
)

// certificate returns a CA, PEM, that lasts until a time.
func certificate(t *testing.T, until time.Time) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: until, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func setBundle(t *testing.T, webhook map[string]any, ca []byte) {
	t.Helper()
	if err := unstructured.SetNestedField(webhook, base64.StdEncoding.EncodeToString(ca), "clientConfig", "caBundle"); err != nil {
		t.Fatal(err)
	}
}

// withCA replaces the CA everywhere by one that lasts until a time.
func withCA(t *testing.T, o *doctor.Observation, until time.Time) {
	t.Helper()
	ca := certificate(t, until)
	o.CA.Value = ca
	for _, c := range []*unstructured.Unstructured{o.Webhooks.Value.Mutating, o.Webhooks.Value.Validating} {
		eachWebhook(t, c, func(w map[string]any) { setBundle(t, w, ca) })
	}
}

// failOpen has every webhook fail open, in what is installed too.
func failOpen(t *testing.T, o *doctor.Observation) {
	t.Helper()
	for _, c := range []*unstructured.Unstructured{o.Webhooks.Value.Validating, o.Wanted.Validating} {
		eachWebhook(t, c, func(w map[string]any) { w["failurePolicy"] = "Ignore" })
	}
}
