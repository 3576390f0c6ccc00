package backfill

import (
	"time"

	"k8s.io/client-go/util/workqueue"

	"github.com/meshfence/meshfence/policy/object"
)

// retries are the objects that are tried again, each ever more slowly.
type retries struct {
	delays workqueue.TypedRateLimiter[object.Key]
	at     map[object.Key]time.Time
}

func newRetries() *retries {
	return &retries{workqueue.NewTypedItemExponentialFailureRateLimiter[object.Key](retryFirst, retryMax), map[object.Key]time.Time{}}
}

// tried notes when an object is tried again, or that it need not be.
func (r *retries) tried(key object.Key, again bool) {
	if again {
		r.at[key] = time.Now().Add(r.delays.When(key))
		return
	}
	r.delays.Forget(key)
}

// next returns when an object is tried again, and whether there is one.
func (r *retries) next() (at time.Time, ok bool) {
	for _, when := range r.at {
		if !ok || when.Before(at) {
			at, ok = when, true
		}
	}
	return at, ok
}

// due returns the objects whose time has come.
func (r *retries) due(now time.Time) map[object.Key]bool {
	due := map[object.Key]bool{}
	for key, when := range r.at {
		if !when.After(now) {
			due[key] = true
		}
	}
	return due
}

// looked drops the objects that were looked at: those that still differ are queued.
func (r *retries) looked(looked func(object.Key) bool, queued map[object.Key]*difference) {
	for key := range r.at {
		if !looked(key) {
			continue
		}
		delete(r.at, key)
		if queued[key] == nil {
			r.delays.Forget(key)
		}
	}
}

// empty reports whether nothing is tried again.
func (r *retries) empty() bool { return len(r.at) == 0 }
