package faults_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// badRequests counts what is no review.
const badRequests = `meshfence_admission_requests_total{kind="other",operation="other",outcome="bad_request",path="/validate"}`

// wireFaults happen to the port of the webhooks, which whoever reaches a Pod can reach.
func wireFaults() []fault {
	return []fault{
		{
			name: "garbage instead of TLS", fast: true, strike: eachReplica(garbage),
			within: 10 * time.Second, said: []sign{logged("TLS handshake error")},
		},
		{
			name: "1000 connections that say nothing", strike: eachReplica(silentConnections),
			within: 10 * time.Second, said: []sign{rises("process_open_fds", 900)},
		},
		{
			name: "200 bodies that do not end", strike: eachReplica(slowBodies),
			within: 20 * time.Second, said: []sign{rises("meshfence_admission_requests_in_flight", 100), rises(badRequests, 100)},
		},
		{
			// What finds no room is turned away, and the API server's requests may be.
			name: "hostile bodies", allowed: away, strike: eachReplica(hostileBodies),
			within: 10 * time.Second, said: []sign{rises(badRequests, 50)},
		},
	}
}

// eachReplica does something to the port of every replica.
func eachReplica(do func(ctx context.Context, address string) error) func(context.Context, *bed) error {
	return func(ctx context.Context, b *bed) error {
		for i := range b.meshfence.Replicas() {
			if err := do(ctx, b.meshfence.WebhookAddress(i)); err != nil {
				return err
			}
		}
		return nil
	}
}

// garbage sends what is no TLS over many connections.
func garbage(ctx context.Context, address string) error {
	return connections(ctx, address, 200, time.Second, func(c net.Conn) {
		_, _ = io.CopyN(c, rand.Reader, 1<<10) // the other side may hang up
	})
}

// silentConnections opens a thousand and says nothing.
func silentConnections(ctx context.Context, address string) error {
	return connections(ctx, address, 1000, 5*time.Second, func(net.Conn) {})
}

// slowBodies begins requests and says no more than the first bytes of their bodies.
func slowBodies(ctx context.Context, address string) error {
	return connections(ctx, address, 200, 12*time.Second, func(c net.Conn) {
		encrypted := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
		_, _ = fmt.Fprint(encrypted, "POST /validate HTTP/1.1\r\nHost: meshfence\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{") // as above
	})
}

// connections keeps a number of connections open for a while.
func connections(ctx context.Context, address string, number int, d time.Duration, say func(net.Conn)) error {
	var dialer net.Dialer
	for range number {
		c, err := dialer.DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		defer c.Close()
		say(c)
	}
	return pause(ctx, d)
}

// hostileBodies sends, several at a time, what a decoder may choke on.
func hostileBodies(ctx context.Context, address string) error {
	bodies := []string{
		"", "null", "[]", "{", strings.Repeat("[", 3<<20), strings.Repeat(`{"a":`, 1<<20), `{"request": {"object": ` + strings.Repeat("[", 1<<20),
		`{"request": {"uid": "` + strings.Repeat("a", 3<<20) + `"}}`, `{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}`,
		`{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": "1", "kind": {"kind": "Service"}, "object": 1}}`,
		strings.Repeat("a", 16<<20),
	}
	client := &http.Client{
		Timeout:   20 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
	}
	defer client.CloseIdleConnections()
	var senders sync.WaitGroup
	for range 8 {
		senders.Go(func() {
			for _, path := range []string{"/mutate", "/validate"} {
				for _, body := range bodies {
					request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+address+path, bytes.NewReader([]byte(body)))
					if err != nil {
						return
					}
					request.Header.Set("Content-Type", "application/json")
					if response, err := client.Do(request); err == nil { // the other side may hang up
						response.Body.Close()
					}
				}
			}
		})
	}
	senders.Wait()
	return nil
}
