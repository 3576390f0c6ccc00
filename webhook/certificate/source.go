package certificate

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"sync/atomic"
	"time"

	cmtls "github.com/cert-manager/cert-manager/pkg/server/tls"
	"github.com/cert-manager/cert-manager/pkg/server/tls/authority"
	"github.com/go-logr/logr"
)

// trustTimeout bounds one look at the webhook configurations, which an informer answers from memory once it is filled.
const trustTimeout = 5 * time.Second

// Trust returns nil when every API server that calls the webhook is told to trust leaf, and otherwise an
// error that says which is not.
type Trust func(ctx context.Context, leaf *x509.Certificate) error

// PublishedSource is cert-manager's DynamicSource made safe against rotation under load: a certificate is issued only
// once it is trusted, and while the one before it is valid it is served only when it is as old as the grace period.
// By then every API server has read the CA that signed it, and no clock that runs behind finds it "not yet valid".
type PublishedSource struct {
	*cmtls.DynamicSource
	grace    time.Duration
	previous atomic.Pointer[tls.Certificate]
}

// NewPublishedSource returns a source of certificates for dnsNames that signer signs.
func NewPublishedSource(signer cmtls.Authority, trust Trust, grace time.Duration, log logr.Logger, dnsNames ...string) *PublishedSource {
	s := &PublishedSource{grace: grace}
	s.DynamicSource = &cmtls.DynamicSource{
		DNSNames:  dnsNames,
		Authority: &publishedAuthority{Authority: signer, trust: trust, replace: s.retain, log: log},
	}
	return s
}

// GetCertificate returns the certificate to serve now.
func (s *PublishedSource) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	next, err := s.DynamicSource.GetCertificate(hello)
	if err != nil {
		return nil, err
	}
	now, previous := time.Now(), s.previous.Load()
	if previous != nil && now.Before(next.Leaf.NotBefore.Add(s.grace)) && now.Before(previous.Leaf.NotAfter) {
		return previous, nil
	}
	return next, nil
}

// retain keeps what is served now, just before the library replaces it.
func (s *PublishedSource) retain() {
	if served, err := s.GetCertificate(nil); err == nil {
		s.previous.Store(served)
	}
}

// publishedAuthority signs only what is trusted already; until then the library asks again every second.
type publishedAuthority struct {
	cmtls.Authority
	trust   Trust
	replace func()
	log     logr.Logger
	reason  string // why the last attempt was refused; only the source's one goroutine signs
}

func (a *publishedAuthority) Sign(template *x509.Certificate) (*x509.Certificate, error) {
	leaf, err := a.Authority.Sign(template)
	if err != nil {
		return nil, err
	}
	// The library's interface hands no context down.
	ctx, cancel := context.WithTimeout(context.Background(), trustTimeout)
	defer cancel()
	if err := a.trust(ctx, leaf); err != nil {
		if reason := err.Error(); reason != a.reason {
			a.log.Info("the new serving certificate waits until it is trusted", "reason", reason)
			a.reason = reason
		}
		return nil, fmt.Errorf("%w: %w", authority.ErrCertificateNotAvailable, err)
	}
	a.reason = ""
	a.replace()
	a.log.Info("issued a serving certificate", "notAfter", leaf.NotAfter)
	return leaf, nil
}
