package testbed

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
)

// Places answers at addresses whatever comes there, HTTP as HTTP, and says at which address it came.
type Places struct {
	listeners []net.Listener
	requests  chan net.Conn
	done      chan struct{}
	server    *http.Server
	workers   sync.WaitGroup
}

// ServePlaces starts to answer at addresses of the test bed: those of Pods, and where MeshOptions.Envoy is set those of
// Services, for which there is no kube-proxy.
func ServePlaces(ctx context.Context, addresses ...netip.AddrPort) (*Places, error) {
	p := &Places{requests: make(chan net.Conn), done: make(chan struct{})}
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	p.server = &http.Server{Protocols: protocols, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Context().Value(http.LocalAddrContextKey))
	})}
	for _, address := range addresses {
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address.String())
		if err != nil {
			p.Stop()
			return nil, fmt.Errorf("answer at %s: %w", address, err)
		}
		p.listeners = append(p.listeners, listener)
		p.workers.Go(func() { p.accept(listener) })
	}
	p.workers.Go(func() { _ = p.server.Serve(handedOn{p}) }) // it ends when it is stopped, and for no other reason
	return p, nil
}

func (p *Places) accept(listener net.Listener) {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return
		}
		go p.answer(connection)
	}
}

// answer looks at the first bytes.
func (p *Places) answer(connection net.Conn) {
	reader := bufio.NewReader(connection)
	first, err := reader.Peek(len("GET"))
	if err == nil && (string(first) == "GET" || string(first) == "PRI") {
		select {
		case p.requests <- &peeked{Conn: connection, reader: reader}:
			return
		case <-p.done:
			err = errStopped
		}
	}
	if err == nil {
		_, _ = fmt.Fprintln(connection, connection.LocalAddr()) // the client sees where it fails
	}
	_ = connection.Close()
}

// Stop ends it.
func (p *Places) Stop() {
	for _, listener := range p.listeners {
		_ = listener.Close() // the only error is that it is closed
	}
	close(p.done)
	_ = p.server.Close() // as above
	p.workers.Wait()
}

// peeked is a connection of which some bytes have been looked at.
type peeked struct {
	net.Conn
	reader io.Reader
}

func (p *peeked) Read(b []byte) (int, error) { return p.reader.Read(b) }

// handedOn is the listener of the connections on which HTTP came.
type handedOn struct{ places *Places }

// errStopped ends what waits for a connection.
var errStopped = errors.New("stopped")

func (h handedOn) Accept() (net.Conn, error) {
	select {
	case connection := <-h.places.requests:
		return connection, nil
	case <-h.places.done:
		return nil, errStopped
	}
}

func (h handedOn) Close() error { return nil }

func (h handedOn) Addr() net.Addr { return &net.TCPAddr{} }
