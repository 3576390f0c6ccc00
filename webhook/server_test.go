package webhook_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/meshfence/meshfence/webhook"
)

// Neither a body that never ends nor a connection that never speaks stays, by any protocol; a request that is whole is
// answered meanwhile, and at the end what has begun is finished.
func TestServerCutsOff(t *testing.T) {
	t.Parallel()
	for name, protocol := range map[string]string{"HTTP/1.1": "http/1.1", "HTTP/2": "h2"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, nil)
			client := s.client(t, protocol)
			var running sync.WaitGroup
			for range 60 {
				running.Go(func() {
					body, stop := io.Pipe()
					defer stop.Close()
					go func() { _, _ = io.WriteString(stop, "{") }() // it fails when the server hangs up
					r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/read", body)
					if err != nil {
						t.Error(err)
						return
					}
					r.ContentLength = 1 << 20
					if response, err := client.Do(r); err == nil {
						response.Body.Close()
					}
				})
			}
			waitFor(t, "all are being read", func() bool { return s.reading.Load() == 60 })
			response, err := client.Post(s.url+"/read", "application/json", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			waitFor(t, "none is read any more", func() bool { return s.reading.Load() == 0 })
			running.Wait()
		})
	}
	t.Run("no word", func(t *testing.T) {
		t.Parallel()
		s := startServer(t, nil)
		connection, err := net.Dial("tcp", s.address)
		if err != nil {
			t.Fatal(err)
		}
		defer connection.Close()
		if err := connection.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := connection.Read(make([]byte, 1)); err != io.EOF { //nolint:errorlint // a timeout would be wrapped
			t.Errorf("the connection ends with %v", err)
		}
	})
}

// A server that stops answers what comes over a connection, and has the client leave that: closed while it is idle it could
// be closed under a request that is on its way.
func TestServerLeavesNoRequest(t *testing.T) {
	t.Parallel()
	for name, protocol := range map[string]string{"HTTP/1.1": "http/1.1", "HTTP/2": "h2"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, nil)
			client := s.client(t, protocol)
			if reused, err := s.ask(t, client); reused || err != nil {
				t.Fatalf("the first request has an old connection: %t, %v", reused, err)
			}
			s.stop()
			again := 0
			for ; ; again++ {
				reused, err := s.ask(t, client)
				if err != nil {
					t.Fatalf("request %d while the server stops: %v", again+1, err)
				}
				if !reused {
					break
				}
			}
			if again == 0 {
				t.Error("the connection was closed before it was used")
			}
		})
	}
}

// ask sends a request, and reports whether it went over a connection that had been used before.
func (s *startedServer) ask(t *testing.T, client *http.Client) (reused bool, err error) {
	t.Helper()
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { reused = i.Reused }})
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/read", strings.NewReader("{}"))
	if err != nil {
		return false, err
	}
	response, err := client.Do(r)
	if err != nil {
		return false, err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return reused, err
}

type startedServer struct {
	url, address string
	// stop begins to stop the server.
	stop    func()
	reading atomic.Int64
}

// bodyTime is what the servers give a body: enough for all to be read at once by a busy machine under the race detector.
const bodyTime = 3 * time.Second

// startServer starts a server that gives a body little time, for these clients, and stops it when the test ends.
func startServer(t *testing.T, clients *webhook.ClientCA) *startedServer {
	t.Helper()
	certificate := httptest.NewUnstartedServer(nil)
	certificate.StartTLS()
	pair := certificate.TLS.Certificates[0]
	certificate.Close()
	server := webhook.NewServer("127.0.0.1", 0, func(c *tls.Config) { c.Certificates = []tls.Certificate{pair} }, clients)
	s := &startedServer{}
	server.Register("/read", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		s.reading.Add(1)
		defer s.reading.Add(-1)
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = listener.Addr().String()
	s.url = "https://" + s.address
	ctx, cancel := context.WithCancel(t.Context())
	s.stop = cancel
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, listener, bodyTime) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	return s
}

func (s *startedServer) client(t *testing.T, protocol string) *http.Client {
	t.Helper()
	config := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protocol}}
	if protocol == "h2" {
		transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{Transport: transport}
	}
	transport := &http.Transport{TLSClientConfig: config, TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}
