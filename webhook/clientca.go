package webhook

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"github.com/go-logr/logr"
)

// ClientCA verifies the certificates of clients by a file of CAs, which is read again for each connection. While what is in
// it is no CA, those that were there before count.
type ClientCA struct {
	file  string
	names []string
	log   logr.Logger

	mu   sync.Mutex
	text []byte
	pool *x509.CertPool
	told string // why the file could not be taken over
}

// NewClientCA reads the file. Names are the common names and DNS names of clients, of which a certificate must have one;
// any will do where there are none.
func NewClientCA(file string, names []string, log logr.Logger) (*ClientCA, error) {
	c := &ClientCA{file: file, names: names, log: log}
	return c, c.read()
}

// read takes over what is in the file.
func (c *ClientCA) read() error {
	text, err := os.ReadFile(c.file)
	if err != nil {
		return fmt.Errorf("read the CA of clients: %w", err)
	}
	if bytes.Equal(text, c.text) {
		return nil
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return fmt.Errorf("read the CA of clients: %s holds no certificate", c.file)
	}
	c.text, c.pool = text, pool
	return nil
}

// current returns the CAs that count now.
func (c *ClientCA) current() *x509.CertPool {
	c.mu.Lock()
	defer c.mu.Unlock()
	problem := ""
	if err := c.read(); err != nil {
		problem = err.Error()
	}
	if problem != c.told && problem != "" {
		c.log.Info("the CAs of clients stay as they were", "reason", problem)
	}
	c.told = problem
	return c.pool
}

// configureTLS refuses clients without a certificate that counts.
func (c *ClientCA) configureTLS(config *tls.Config) {
	config.ClientAuth = tls.RequireAndVerifyClientCert
	config.VerifyConnection = c.verify
	config.SessionTicketsDisabled = true // a CA that went must not count for who was here before
	base := config.Clone()
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		now := base.Clone()
		now.ClientCAs = c.current()
		return now, nil
	}
}

// nameRefused begins what is said of a client whose names are others than those that may call.
const nameRefused = "a client certificate has no name that may call"

// verify judges the name in a certificate that a CA has signed.
func (c *ClientCA) verify(state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("no client certificate")
	}
	leaf := state.PeerCertificates[0]
	has := append([]string{leaf.Subject.CommonName}, leaf.DNSNames...)
	if len(c.names) > 0 && !slices.ContainsFunc(has, func(name string) bool { return slices.Contains(c.names, name) }) {
		return fmt.Errorf("%s: %q", nameRefused, has)
	}
	return nil
}
