package webhook

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/healthz"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	ctrlwebhook "sigs.k8s.io/controller-runtime/pkg/webhook"
)

// The times that a connection has. An API server waits for an answer for 30 seconds at most, and keeps its connections.
const (
	headerTimeout = 5 * time.Second
	readTimeout   = 10 * time.Second
	writeTimeout  = 45 * time.Second
	idleTimeout   = 2 * time.Minute
	// maxHeader is far more than an API server sends.
	maxHeader = 64 << 10
	// leaveTime is how long a server that stops still serves: whoever uses a connection meanwhile is told to take another
	// one, so that none is closed under a request that is on its way.
	leaveTime = time.Second
	// drainTimeout bounds how long requests may take after that.
	drainTimeout = 15 * time.Second
)

// Server is controller-runtime's webhook server with limits: that one waits for headers for half a minute and for a body
// for ever (its pkg/internal/httpserver).
type Server struct {
	ctrlwebhook.Server

	address      string
	configureTLS func(*tls.Config)
	clients      *ClientCA
	readTimeout  time.Duration
}

// NewServer returns a server that listens on an address once it is started. It serves everybody where no clients are given.
func NewServer(host string, port int, configureTLS func(*tls.Config), clients *ClientCA) *Server {
	return &Server{
		Server:       ctrlwebhook.NewServer(ctrlwebhook.Options{Host: host, Port: port}),
		address:      net.JoinHostPort(host, strconv.Itoa(port)),
		configureTLS: configureTLS,
		clients:      clients,
		readTimeout:  readTimeout,
	}
}

// Start serves until the context ends and the requests that have begun are answered.
func (s *Server) Start(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.address)
	if err != nil {
		return fmt.Errorf("listen for reviews: %w", err)
	}
	return s.serve(ctx, listener)
}

func (s *Server) serve(ctx context.Context, listener net.Listener) error {
	config := &tls.Config{NextProtos: []string{"h2", "http/1.1"}, MinVersion: tls.VersionTLS12}
	s.configureTLS(config)
	if s.clients != nil {
		s.clients.configureTLS(config)
	}
	var leaving atomic.Bool
	server := &http.Server{
		Handler:           closeWhile(&leaving, s.WebhookMux()),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       s.readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          log.New(NewConnectionLog(logf.FromContext(ctx).WithName("webhook")), "", 0),
	}
	drained := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		leaving.Store(true)
		time.Sleep(leaveTime)
		draining, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
		defer cancel()
		drained <- server.Shutdown(draining)
	})
	defer stop()
	if err := server.Serve(tls.NewListener(listener, config)); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve reviews: %w", err)
	}
	if err := <-drained; err != nil {
		logf.FromContext(ctx).Info("reviews are cut off", "reason", err.Error())
	}
	return nil
}

// closeWhile answers as a handler does, and meanwhile has each answer be the last one of its connection: over HTTP/2 the
// client is told to begin no more on it (GOAWAY), and what it has begun is answered.
func closeWhile(leaving *atomic.Bool, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if leaving.Load() {
			w.Header().Set("Connection", "close")
		}
		h.ServeHTTP(w, r)
	})
}

// StartedChecker returns a check that fails until the server answers a handshake, or a connection where a handshake takes a
// certificate that the replica does not have.
func (s *Server) StartedChecker() healthz.Checker {
	var dialer interface {
		DialContext(ctx context.Context, network, address string) (net.Conn, error)
	} = &net.Dialer{}
	if s.clients == nil {
		// The certificate has a check of its own.
		dialer = &tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}
	}
	return func(*http.Request) error {
		ctx, cancel := context.WithTimeout(context.Background(), headerTimeout)
		defer cancel()
		connection, err := dialer.DialContext(ctx, "tcp", s.address)
		if err != nil {
			return fmt.Errorf("the webhook server does not answer: %w", err)
		}
		return connection.Close()
	}
}
