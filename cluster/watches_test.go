package cluster_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/meshfence/meshfence/cluster"
)

// TestWatches: a watch counts from its last word on, until nobody asks for it any more or its kind has gone.
func TestWatches(t *testing.T) {
	t.Parallel()
	const services = "/api/v1/services?watch=true"
	for name, test := range map[string]struct {
		path   string
		status int
		err    error
		// later is what comes after a minute, if anything, and closed reports whether the watch ends then.
		later  string
		closed bool
		after  time.Duration
		want   map[string]time.Duration // how long ago a word of a resource came
	}{
		"a watch begins":          {path: services, want: map[string]time.Duration{"services": time.Minute}},
		"something comes":         {path: services, later: "{}", want: map[string]time.Duration{"services": 0}},
		"nothing comes for long":  {path: services, after: time.Hour, want: map[string]time.Duration{"services": time.Hour + time.Minute}},
		"of one namespace":        {path: "/api/v1/namespaces/a/configmaps?fieldSelector=x&watch=true", want: map[string]time.Duration{"configmaps": time.Minute}},
		"of namespaces":           {path: "/api/v1/namespaces?watch=1", want: map[string]time.Duration{"namespaces": time.Minute}},
		"of a group":              {path: "/apis/networking.istio.io/v1/gateways?watch=true", want: map[string]time.Duration{"gateways.networking.istio.io": time.Minute}},
		"a list":                  {path: "/api/v1/services"},
		"something else":          {path: "/version?watch=true"},
		"it ends":                 {path: services, closed: true, want: map[string]time.Duration{"services": time.Minute}},
		"nobody asks again":       {path: services, closed: true, after: time.Hour},
		"the API server is away":  {path: services, err: errors.New("away"), want: map[string]time.Duration{"services": -1}},
		"a right is missing":      {path: services, status: http.StatusForbidden, want: map[string]time.Duration{"services": -1}},
		"the kind does not exist": {path: services, status: http.StatusNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				registry := prometheus.NewRegistry()
				watches, err := cluster.NewWatches(registry)
				if err != nil {
					t.Fatal(err)
				}
				reader, writer := io.Pipe()
				transport := watches.Wrap(roundTrip(func(*http.Request) (*http.Response, error) {
					return &http.Response{StatusCode: max(test.status, http.StatusOK), Body: reader}, test.err
				}))
				request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://api"+test.path, http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				response, err := transport.RoundTrip(request)
				if !errors.Is(err, test.err) {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
				if test.later != "" {
					go func() { _, _ = io.WriteString(writer, test.later) }() // it ends with the pipe
					if _, err := response.Body.Read(make([]byte, 1)); err != nil {
						t.Error(err)
					}
				}
				if test.closed {
					response.Body.Close()
					response.Body.Close() // as http does now and then
				}
				time.Sleep(test.after)
				if diff := cmp.Diff(test.want, ages(t, registry)); diff != "" {
					t.Errorf("ages (-want +got):\n%s", diff)
				}
				reader.Close()
			})
		})
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// ages returns how long ago each resource was heard of; -1 is never.
func ages(t *testing.T, registry *prometheus.Registry) map[string]time.Duration {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var found map[string]time.Duration
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if found == nil {
				found = map[string]time.Duration{}
			}
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetValue())
			}
			age := time.Since(time.UnixMilli(int64(m.GetGauge().GetValue() * 1000)))
			if m.GetGauge().GetValue() == 0 {
				age = -1
			}
			found[strings.Join(labels, " ")] = age
		}
	}
	return found
}
