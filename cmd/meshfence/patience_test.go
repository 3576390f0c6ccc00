package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/meshfence/meshfence/controller/election"
)

var errAway = errors.New("connection refused")

// lostLock is a lock on a Lease that nobody can read.
type lostLock struct{ resourcelock.Interface }

func (lostLock) Get(context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	return nil, nil, errAway
}
func (lostLock) Identity() string { return "one" }
func (lostLock) Describe() string { return "meshfence-system/meshfence" }

// TestPatience: what client-go's election says of an API server that is away for a moment is a line and no error, and one error
// if it stays away.
func TestPatience(t *testing.T) {
	t.Parallel()
	const lease = "Error retrieving lease lock"
	for name, test := range map[string]struct {
		lasts time.Duration
		level slog.Level
		want  []string
	}{
		"away for a moment":                   {20 * time.Second, slog.LevelInfo, []string{"INFO " + lease + ", trying again"}},
		"it stays away":                       {5 * time.Minute, slog.LevelInfo, []string{"INFO " + lease + ", trying again", "ERROR " + lease}},
		"away for a moment, errors are asked": {20 * time.Second, slog.LevelError, nil},
		"it stays away, errors are asked":     {5 * time.Minute, slog.LevelError, []string{"ERROR " + lease}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var out safeBuilder
				e, err := election.New("meshfence", lostLock{}, election.DefaultTiming(), logr.FromSlogHandler(newLogs(&out, test.level)))
				if err != nil {
					t.Fatal(err)
				}
				ctx, stop := context.WithTimeout(t.Context(), test.lasts)
				defer stop()
				if err := e.Start(ctx); err != nil {
					t.Fatal(err)
				}
				got := slices.DeleteFunc(levels(t, out.String()), func(line string) bool { return strings.HasPrefix(line, "INFO Attempting to acquire") })
				if diff := cmp.Diff(test.want, got, cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("log (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// TestPatienceWithInformers: a watch of an informer that has no handler of ours fails without an error. Its message is client-go's,
// which sleeps by a clock of its own, so that nothing here waits for the error.
func TestPatienceWithInformers(t *testing.T) {
	t.Parallel()
	var out safeBuilder
	failed := make(chan struct{})
	source := &toolscache.ListWatch{
		ListWithContextFunc:  func(context.Context, metav1.ListOptions) (runtime.Object, error) { return nil, errAway },
		WatchFuncWithContext: func(context.Context, metav1.ListOptions) (watch.Interface, error) { return nil, errAway },
	}
	log := logr.FromSlogHandler(newLogs(&out, slog.LevelInfo))
	informer := toolscache.NewSharedIndexInformer(source, &corev1.Secret{}, 0, nil)
	err := informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, r *toolscache.Reflector, err error) {
		toolscache.DefaultWatchErrorHandler(ctx, r, err)
		close(failed)
		<-ctx.Done() // once is enough
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(logr.NewContext(t.Context(), log))
	defer stop()
	go informer.RunWithContext(ctx)
	<-failed
	log.WithName("a").WithValues("b", "c").Error(errAway, "something else")
	log.Error(errAway, "something else")
	want := []string{"INFO Failed to watch, trying again", "ERROR something else", "ERROR something else"}
	got := slices.DeleteFunc(levels(t, out.String()), func(line string) bool { return strings.HasPrefix(line, "INFO Warning: ") })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

// levels returns the level and the message of each line of a log.
func levels(t *testing.T, log string) []string {
	t.Helper()
	var lines []string
	for line := range strings.Lines(log) {
		var said struct{ Level, Msg string }
		if err := json.Unmarshal([]byte(line), &said); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, said.Level+" "+said.Msg)
	}
	return lines
}
