package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	toolscache "k8s.io/client-go/tools/cache"

	"github.com/meshfence/meshfence/cluster"
)

// TestWatchErrors: an API server that starts again is one line, whatever it takes with it; a watch that keeps failing is an
// error, once.
func TestWatchErrors(t *testing.T) {
	t.Parallel()
	away := errors.New("connection refused")
	type failure struct {
		after time.Duration
		kinds []string
		err   error
	}
	every := func(n int, f failure) []failure {
		fs := make([]failure, n)
		for i := range fs {
			fs[i] = f
		}
		return fs
	}
	all := []string{"Service", "Gateway", "Sidecar"}
	// backoff is how an informer tries again.
	backoff := func(kinds ...string) []failure {
		var fs []failure
		for _, pause := range []time.Duration{0, 1, 3, 4, 12, 20, 60, 30, 50} {
			fs = append(fs, failure{pause * time.Second, kinds, away})
		}
		return fs
	}
	restart := []failure{{25 * time.Second, all, away}, {time.Second, all, away}}
	for name, test := range map[string]struct {
		failures []failure
		want     []string
	}{
		"an API server starts again":       {every(5, failure{2 * time.Second, all, away}), []string{"info Service"}},
		"it does so every hour":            {every(2, failure{time.Hour, all, away}), []string{"info Service", "info Service"}},
		"it stays away":                    {backoff(all...), []string{"info Service", "error Service", "error Gateway", "error Sidecar"}},
		"it hangs":                         {every(9, failure{time.Minute, all[:1], away}), []string{"info Service", "info Service", "error Service"}},
		"three start one after the other":  {slices.Concat(restart, restart, restart), []string{"info Service", "info Service"}},
		"it comes back, and goes":          {slices.Concat(backoff("Gateway"), []failure{{time.Hour, []string{"Gateway"}, away}}, backoff("Gateway")), []string{"info Gateway", "error Gateway", "info Gateway", "error Gateway"}},
		"one fails a minute after another": {[]failure{{0, all[:1], away}, {time.Minute, all[1:2], away}}, []string{"info Service", "info Gateway"}},
		"watches end":                      {[]failure{{0, all, io.EOF}, {0, all, fmt.Errorf("read: %w", io.ErrUnexpectedEOF)}, {0, all, apierrors.NewResourceExpired("old")}}, nil},
		"the replica ends":                 {[]failure{{0, all, context.Canceled}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var got []string
				handle := cluster.WatchErrors(funcr.New(func(_, line string) {
					level := "info"
					if strings.Contains(line, `"error"=`) {
						level = "error"
					}
					_, kind, _ := strings.Cut(line, `"kind"="`)
					kind, _, _ = strings.Cut(kind, `"`)
					got = append(got, level+" "+kind)
				}, funcr.Options{}))
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				for _, f := range test.failures {
					time.Sleep(f.after)
					if errors.Is(f.err, context.Canceled) {
						stop()
					}
					for _, kind := range f.kinds {
						handle(ctx, toolscache.NewReflectorWithOptions(nil, nil, nil, toolscache.ReflectorOptions{TypeDescription: kind}), f.err)
					}
				}
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("log (-want +got):\n%s", diff)
				}
			})
		})
	}
}
