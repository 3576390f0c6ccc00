package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestRequests: the leader asks the API server for nothing because of a Service that asks for nothing, and for little because
// of a rule that is as it should be: what the audit asks of Pods. A strict Service takes the two writes of its companions,
// and a read for each look of the audit at it, whose rules read more of a Service than the index keeps: one, and a few where
// the machine is so busy that the companions come one by one.
func TestRequests(t *testing.T) {
	const times = 20
	c := startCompanions(t, subsetConfig, companionService, quickly)
	eventually(t, "the companions are there", c.both)
	c.apply(t, c.namespace, fmt.Sprintf(fencedRule, 0))
	eventually(t, "the rule takes the place of one", func(ctx context.Context) error { return c.gone(ctx, c.rule) })
	for _, test := range []struct {
		name  string
		write string // with a number
		want  int64
	}{
		{"Services that ask for nothing", "apiVersion: v1\nkind: Service\nmetadata: {name: open-%d}\nspec: {ports: [{port: 80}]}\n", 0},
		{"writes of a fenced rule", fencedRule, 3 * times},
		{"Services that become strict", strictService, 6 * times},
	} {
		c.rest(t)
		before := c.requests.Load()
		for i := range times {
			c.apply(t, c.namespace, fmt.Sprintf(test.write, i+1))
		}
		c.rest(t)
		got := c.requests.Load() - before
		t.Logf("%d %s: %d requests", times, test.name, got)
		if got > test.want {
			t.Errorf("%d %s: %d requests, want at most %d", times, test.name, got, test.want)
		}
	}
}

// strictService is one that has companions.
const strictService = "apiVersion: v1\nkind: Service\nmetadata: {name: strict-%d, annotations: {meshfence.io/fence: strict}}\nspec: {selector: {app: strict}, ports: [{name: http, port: 80}]}\n"

// fencedRule is a rule of a user for the Service reviews.
const fencedRule = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: users, labels: {write: "%d"}}
spec: {host: reviews, subsets: [{name: v1, labels: {version: v1}}]}
`

// rest waits until the replica has asked for nothing for a while.
func (l *leader) rest(t *testing.T) {
	t.Helper()
	last, quiet := l.requests.Load(), time.Now()
	for start := quiet; time.Since(quiet) < 3*time.Second; {
		if time.Since(start) > time.Minute {
			t.Fatal("the replica does not rest")
		}
		time.Sleep(100 * time.Millisecond)
		if now := l.requests.Load(); now != last {
			last, quiet = now, time.Now()
		}
	}
}

// counted counts what a replica asks for, but for watches, the lease and mesh ConfigMaps, which it asks for again and again
// because this one may not read them.
func (l *leader) counted(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		if !r.URL.Query().Has("watch") && !strings.Contains(r.URL.Path, "/leases") && !strings.Contains(r.URL.Path, "/configmaps") {
			l.requests.Add(1)
		}
		return next.RoundTrip(r)
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
