package cluster

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	toolscache "k8s.io/client-go/tools/cache"
)

const (
	// failurePatience is how long something may fail until that is an error. An API server that starts again ends all watches,
	// and refuses some of them for seconds.
	failurePatience = 30 * time.Second
	// What has not failed for longer than failureRests, and for longer than failurePauses of its last pause, works: who tries again
	// waits for twice as long each time, and for as long again by chance, up to a minute. So API servers that start again one
	// after the other are no failure that lasts. After failureForgotten it works in any case.
	failureRests, failurePauses, failureForgotten = 10 * time.Second, 5, 2 * time.Minute
)

// Failures tells what fails for a moment, and is tried again, from what keeps failing. The zero value is ready to use.
type Failures struct {
	mu      sync.Mutex
	failing map[string]*failure
}

type failure struct {
	since, last time.Time
	pause       time.Duration // before the last
	told        bool
}

// Failed counts a failure of something. It reports whether that begins to fail, and whether it has kept failing for long, which
// it reports once; and since when it fails.
func (f *Failures) Failed(what string) (begins, lasts bool, since time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failing == nil {
		f.failing = map[string]*failure{}
	}
	now, known := time.Now(), f.failing[what]
	if known == nil {
		known = &failure{}
		f.failing[what] = known
	}
	pause := now.Sub(known.last)
	if begins = pause > max(failureRests, min(failurePauses*known.pause, failureForgotten)); begins {
		known.since, known.told = now, false
	}
	if pause > failureForgotten {
		pause = 0 // it has not tried again meanwhile
	}
	known.last, known.pause = now, pause
	if lasts = !known.told && now.Sub(known.since) >= failurePatience; lasts {
		known.told = true
	}
	return begins, lasts, known.since
}

// watchErrors tells of watches that fail: a line for all that begin to fail together, and an error for each that keeps
// failing. client-go's own handler logs an error at every try.
type watchErrors struct {
	log      logr.Logger
	failures Failures

	mu   sync.Mutex
	told time.Time // when the last line was written that stands for all
}

// WatchErrors returns what informers call when a watch fails.
func WatchErrors(log logr.Logger) toolscache.WatchErrorHandlerWithContext {
	w := &watchErrors{log: log}
	return func(ctx context.Context, r *toolscache.Reflector, err error) {
		// Those that end go on from there, or are read anew.
		ended := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || apierrors.IsResourceExpired(err) || apierrors.IsGone(err)
		if ctx.Err() == nil && !ended {
			w.failed(r.TypeDescription(), err)
		}
	}
}

func (w *watchErrors) failed(kind string, err error) {
	begins, lasts, since := w.failures.Failed(kind)
	if begins && w.first() {
		w.log.Info("a watch fails, others may too; trying again", "kind", kind, "reason", err.Error())
	}
	if lasts {
		w.log.Error(err, "a watch keeps failing", "kind", kind, "since", since.UTC())
	}
}

// first reports whether no other watch has begun to fail a moment ago.
func (w *watchErrors) first() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if now.Sub(w.told) < failurePatience {
		return false
	}
	w.told = now
	return true
}
