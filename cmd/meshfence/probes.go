package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
)

// The names of what a replica is ready for, beside those of package webhook.
const (
	checkConfig      = "config"
	checkCertificate = "certificate"
	checkState       = "state"
	checkWebhook     = "webhook"
)

// probes answers the kubelet from the first moment on: while a replica waits for what it needs to start, it lives, is
// not ready, and says why. The manager's own endpoint begins only when everything is put together.
type probes struct {
	log *slog.Logger

	mu     sync.Mutex
	checks map[string]healthz.Checker
	// failed are the names of the checks that failed last, and was reports whether none has before.
	failed string
	was    bool
}

// newProbes returns probes that fail for the reason, under the name of a check that is to be set later.
func newProbes(log logr.Logger, name, reason string) *probes {
	p := &probes{log: slog.New(logr.ToSlogHandler(log)), checks: map[string]healthz.Checker{}, failed: "none yet"}
	p.set(name, func(*http.Request) error { return errors.New(reason) })
	return p
}

// set adds or replaces a check of readiness.
func (p *probes) set(name string, check healthz.Checker) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.checks[name] = check
}

// ready answers /readyz with a line for each check that fails.
func (p *probes) ready(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	checks := maps.Clone(p.checks)
	p.mu.Unlock()
	var failing []error
	var names []string
	for _, name := range slices.Sorted(maps.Keys(checks)) {
		if err := checks[name](r); err != nil {
			failing, names = append(failing, fmt.Errorf("%s: %w", name, err)), append(names, name)
		}
	}
	p.tell(strings.Join(names, ", "), errors.Join(failing...))
	if err := errors.Join(failing...); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

// tell logs which checks fail when these are others than at the last look.
func (p *probes) tell(failed string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if failed == p.failed {
		return
	}
	p.failed = failed
	switch {
	case err == nil:
		p.was = true
		p.log.Info("ready")
	case p.was:
		p.log.Warn("not ready any more", "checks", failed, "reason", err.Error())
	default:
		p.log.Info("not ready yet", "checks", failed, "reason", err.Error())
	}
}

// start serves the probes on an address until the context ends; 0 or nothing serves none. The error is that the address
// cannot be listened on.
func (p *probes) start(ctx context.Context, address string) error {
	if address == "" || address == "0" {
		return nil
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("--health-address: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/readyz", p.ready)
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	server := &http.Server{Handler: mux, ReadTimeout: 10 * time.Second, WriteTimeout: 20 * time.Second}
	go func() { _ = server.Serve(listener) }() // it ends when it is closed
	context.AfterFunc(ctx, func() { server.Close() })
	return nil
}
