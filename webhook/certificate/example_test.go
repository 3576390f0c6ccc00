package certificate_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"

	"github.com/meshfence/meshfence/webhook/certificate"
)

// While a CA is renewed, the caBundle trusts the former one too: other replicas may still serve its certificates.
func Example() {
	authority := func(from time.Time) []byte {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil
		}
		template := &x509.Certificate{
			SerialNumber: big.NewInt(1), NotBefore: from, NotAfter: from.Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
		}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			return nil
		}
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	now := time.Now()
	current, former, expired := authority(now.Add(-time.Hour)), authority(now.Add(-16*time.Hour)), authority(now.Add(-48*time.Hour))
	bundle, err := certificate.CABundle(now, current, former, expired)
	fmt.Println(bytes.Equal(bundle, append(current, former...)), err)
	// Output: true <nil>
}
