package testbed

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"time"
)

// ClientCA signs the certificates of clients.
type ClientCA struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// NewClientCA makes one.
func NewClientCA() (*ClientCA, error) {
	ca := &ClientCA{certificate: &x509.Certificate{
		Subject: pkix.Name{CommonName: "clients"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}}
	der, key, err := ca.sign(ca.certificate)
	if err != nil {
		return nil, err
	}
	ca.key = key
	ca.certificate, err = x509.ParseCertificate(der)
	return ca, err
}

// PEM returns the certificate of the CA.
func (ca *ClientCA) PEM() []byte { return certificatePEM(ca.certificate.Raw) }

// Client returns the certificate and the key of a client of these names.
func (ca *ClientCA) Client(commonName string, dnsNames ...string) (certificate, key []byte, err error) {
	der, private, err := ca.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: commonName}, DNSNames: dnsNames,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return nil, nil, err
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	return certificatePEM(der), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}), err
}

// sign signs a certificate with the key of the CA, or with its own where that has none yet.
func (ca *ClientCA) sign(template *x509.Certificate) ([]byte, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	signer := ca.key
	if signer == nil {
		signer = key
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, ca.certificate, key.Public(), signer)
	return der, key, err
}

func certificatePEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
