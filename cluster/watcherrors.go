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
	// watchPatience is how long a watch may fail until that is an error. An API server that starts again ends all of them,
	// and refuses some of them for seconds.
	watchPatience = 30 * time.Second
	// watchRests is how long a watch has not failed when it works: an informer asks again within a minute.
	watchRests = 2 * time.Minute
)

// watchErrors tells of watches that fail: a line for all that begin to fail together, and an error for each that keeps
// failing. client-go's own handler logs an error at every try.
type watchErrors struct {
	log logr.Logger

	mu      sync.Mutex
	told    time.Time // when the last line was written that stands for all
	failing map[string]*failingWatch
}

type failingWatch struct {
	since, last time.Time
	told        bool
}

// WatchErrors returns what informers call when a watch fails.
func WatchErrors(log logr.Logger) toolscache.WatchErrorHandlerWithContext {
	w := &watchErrors{log: log, failing: map[string]*failingWatch{}}
	return func(ctx context.Context, r *toolscache.Reflector, err error) {
		// Those that end go on from there, or are read anew.
		ended := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || apierrors.IsResourceExpired(err) || apierrors.IsGone(err)
		if ctx.Err() == nil && !ended {
			w.failed(r.TypeDescription(), err)
		}
	}
}

func (w *watchErrors) failed(kind string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	watch := w.failing[kind]
	if watch == nil || now.Sub(watch.last) > watchRests {
		watch = &failingWatch{since: now}
		w.failing[kind] = watch
		if now.Sub(w.told) >= watchPatience {
			w.told = now
			w.log.Info("a watch fails, others may too; trying again", "kind", kind, "reason", err.Error())
		}
	}
	watch.last = now
	if !watch.told && now.Sub(watch.since) >= watchPatience {
		watch.told = true
		w.log.Error(err, "a watch keeps failing", "kind", kind, "since", watch.since.UTC())
	}
}
