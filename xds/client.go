package xds

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// Options says how to reach istiod.
type Options struct {
	// Address is host:port; through a port-forward, that of its near end.
	Address string
	// Plaintext is for istiod's port 15010, which asks for no identity.
	Plaintext bool
	// CAFile holds the certificates that istiod's must chain to; the system's unless set.
	CAFile string
	// ServerName is the name that istiod's certificate must carry; the host of Address unless set.
	ServerName string
	// TokenFile holds a ServiceAccount token with the audience istio-ca. It is read anew for every stream.
	TokenFile string
}

// Client asks one istiod. It is safe for concurrent use.
type Client struct {
	connection *grpc.ClientConn
}

// Dial prepares a client; it connects with the first Fetch.
func Dial(o Options) (*Client, error) {
	if o.Plaintext && (o.CAFile != "" || o.ServerName != "" || o.TokenFile != "") {
		return nil, errors.New("plaintext must not be combined with a CA file, a server name or a token file")
	}
	transport := insecure.NewCredentials()
	if !o.Plaintext {
		config := &tls.Config{ServerName: o.ServerName, MinVersion: tls.VersionTLS12}
		if o.CAFile != "" {
			pem, err := os.ReadFile(o.CAFile)
			if err != nil {
				return nil, fmt.Errorf("read CA file: %w", err)
			}
			config.RootCAs = x509.NewCertPool()
			if !config.RootCAs.AppendCertsFromPEM(pem) {
				return nil, fmt.Errorf("CA file %s: must hold PEM certificates", o.CAFile)
			}
		}
		transport = credentials.NewTLS(config)
	}
	dial := []grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		// A large mesh has answers beyond gRPC's 4 MiB; Istio's own agent has no limit either.
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32)),
	}
	if o.TokenFile != "" {
		dial = append(dial, grpc.WithPerRPCCredentials(tokenFile(o.TokenFile)))
	}
	// The address is the near end of a port-forward more often than not: no resolver, no proxy.
	connection, err := grpc.NewClient("passthrough:///"+o.Address, dial...)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", o.Address, err)
	}
	return &Client{connection: connection}, nil
}

// Close ends the connection.
func (c *Client) Close() error {
	return c.connection.Close()
}

// tokenFile sends the token in a file as bearer token.
type tokenFile string

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (f tokenFile) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	token, err := os.ReadFile(string(f))
	if err != nil {
		return nil, fmt.Errorf("read token file: %w", err)
	}
	return map[string]string{"authorization": "Bearer " + strings.TrimSpace(string(token))}, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials.
func (tokenFile) RequireTransportSecurity() bool { return true }
