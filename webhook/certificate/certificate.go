package certificate

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"time"

	cmtls "github.com/cert-manager/cert-manager/pkg/server/tls"
	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"
)

// Serving hands the webhook server its serving certificate and keeps it fresh. It is a cert-manager
// CertificateSource, and a runnable that every replica starts, leader or not. It is made by SelfSigned or Mounted.
type Serving struct {
	observed

	source cmtls.CertificateSource
	log    logr.Logger
}

var _ cmtls.CertificateSource = (*Serving)(nil)

func addServing(mgr ctrl.Manager, source cmtls.CertificateSource, o observed) (*Serving, error) {
	c := &Serving{observed: o, source: source, log: mgr.GetLogger().WithName("certificates")}
	if err := mgr.Add(c); err != nil {
		return nil, fmt.Errorf("add the certificate source to the manager: %w", err)
	}
	return c, nil
}

// Start keeps the certificate fresh until ctx ends. The manager calls it.
func (c *Serving) Start(ctx context.Context) error {
	// The library talks at every attempt; its errors are shown at any level.
	if err := c.source.Start(logr.NewContext(ctx, c.log.V(1))); err != nil {
		return fmt.Errorf("keep the serving certificate: %w", err)
	}
	return nil
}

// NeedLeaderElection is false: every replica serves.
func (c *Serving) NeedLeaderElection() bool { return false }

// GetCertificate returns the certificate to serve now, for tls.Config; an error while there is none.
func (c *Serving) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	return c.source.GetCertificate(hello)
}

// Healthy tells whether there is a certificate to serve that has not expired.
func (c *Serving) Healthy() bool { return c.Check(nil) == nil }

// Check is a readyz check: it fails while there is no certificate to serve, or only an expired one.
func (c *Serving) Check(*http.Request) error {
	// Not source.Healthy: cert-manager's file source reads its certificate there without its lock.
	certificate, err := c.source.GetCertificate(nil)
	if err != nil {
		return fmt.Errorf("serving certificate: %w", err)
	}
	if end := certificate.Leaf.NotAfter; time.Now().After(end) {
		return fmt.Errorf("serving certificate expired at %s", end.UTC().Format(time.RFC3339))
	}
	return nil
}

// ConfigureTLS sets what a webhook server needs to serve these certificates, for webhook.Options.TLSOpts.
// It asks for TLS 1.3, which every API server speaks.
func (c *Serving) ConfigureTLS(config *tls.Config) {
	config.MinVersion = tls.VersionTLS13
	config.GetCertificate = c.GetCertificate
}
