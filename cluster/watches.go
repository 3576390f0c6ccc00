package cluster

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/meshfence/meshfence/registry"
)

// watchForgotten is how long a watch may be neither open nor asked for until nobody wants it any more. An informer asks
// again within a minute (the backoff of NewReflectorWithOptions in client-go's tools/cache/reflector.go).
const watchForgotten = 5 * time.Minute

// Watches remember when the API server last said something on a watch of each resource. It sends a bookmark each minute, so
// that a watch that has been silent for longer is lost, however quiet the cluster is.
type Watches struct {
	desc *prometheus.Desc

	mu   sync.Mutex
	seen map[string]*watched
}

// watched is what is known of the watches of one resource.
type watched struct {
	open         int
	asked, heard time.Time
}

// NewWatches registers the metric; the error is that of a registerer that has it already.
func NewWatches(registerer prometheus.Registerer) (*Watches, error) {
	w := &Watches{
		desc: prometheus.NewDesc("meshfence_watch_last_event_timestamp_seconds",
			"When the API server last said something on this replica's watch of a resource, be it a bookmark; 0 if never.", []string{"resource"}, nil),
		seen: map[string]*watched{},
	}
	if err := registry.Add(registerer, w); err != nil {
		return nil, err
	}
	return w, nil
}

// Describe sends the one description.
func (w *Watches) Describe(to chan<- *prometheus.Desc) { to <- w.desc }

// Collect sends one gauge for each resource that is watched, or was to be lately.
func (w *Watches) Collect(to chan<- prometheus.Metric) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for resource, seen := range w.seen {
		if seen.open == 0 && time.Since(seen.asked) > watchForgotten {
			delete(w.seen, resource)
			continue
		}
		value := 0.0
		if !seen.heard.IsZero() {
			value = float64(seen.heard.UnixMilli()) / 1000
		}
		to <- prometheus.MustNewConstMetric(w.desc, prometheus.GaugeValue, value, resource)
	}
}

// Wrap returns a transport that remembers what it carries.
func (w *Watches) Wrap(next http.RoundTripper) http.RoundTripper { return watchTransport{next, w} }

func (w *Watches) change(resource string, by func(*watched)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seen[resource] == nil {
		w.seen[resource] = &watched{}
	}
	by(w.seen[resource])
}

func (w *Watches) forget(resource string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.seen, resource)
}

type watchTransport struct {
	http.RoundTripper

	watches *Watches
}

// RoundTrip carries one request.
func (t watchTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	resource := watchedResource(r.URL)
	if resource == "" {
		return t.RoundTripper.RoundTrip(r)
	}
	t.watches.change(resource, func(w *watched) { w.asked = time.Now() })
	response, err := t.RoundTripper.RoundTrip(r)
	switch {
	case err != nil:
	case response.StatusCode == http.StatusOK:
		t.watches.change(resource, func(w *watched) { w.open, w.heard = w.open+1, time.Now() })
		response.Body = &watchBody{ReadCloser: response.Body, resource: resource, watches: t.watches}
	case response.StatusCode == http.StatusNotFound: // the kind has gone, and may come back
		t.watches.forget(resource)
	}
	return response, err
}

// watchedResource returns the resource that a URL watches, such as services or gateways.networking.istio.io; empty for
// any other request.
func watchedResource(u *url.URL) string {
	if watch := u.Query().Get("watch"); watch != "true" && watch != "1" {
		return ""
	}
	parts := strings.Split(strings.Trim(u.Path, "/"), "/")
	group := ""
	switch {
	case len(parts) > 2 && parts[0] == "api":
		parts = parts[2:]
	case len(parts) > 3 && parts[0] == "apis":
		group, parts = "."+parts[1], parts[3:]
	default:
		return ""
	}
	if len(parts) > 2 && parts[0] == "namespaces" {
		parts = parts[2:]
	}
	return parts[0] + group
}

// watchBody is what comes on a watch.
type watchBody struct {
	io.ReadCloser

	resource string
	watches  *Watches
	close    sync.Once
}

// Read reads what comes.
func (b *watchBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.watches.change(b.resource, func(w *watched) { w.heard = time.Now() })
	}
	return n, err
}

// Close ends the watch.
func (b *watchBody) Close() error {
	b.close.Do(func() {
		b.watches.change(b.resource, func(w *watched) { w.open, w.asked = w.open-1, time.Now() })
	})
	return b.ReadCloser.Close()
}
