package fakecluster

import (
	"context"
	"sync"
	"sync/atomic"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Fault is an error that comes and goes.
type Fault struct {
	mu  sync.Mutex
	err error
}

// Set begins the fault, or ends it if err is nil.
func (f *Fault) Set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

// Err returns the error, if the fault is there.
func (f *Fault) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// Reader reads while there is no fault, and counts.
type Reader struct {
	client.Reader
	Fault

	reads atomic.Int64
}

// Reads returns how often something was read.
func (r *Reader) Reads() int64 { return r.reads.Load() }

// Get reads an object.
func (r *Reader) Get(ctx context.Context, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
	r.reads.Add(1)
	if err := r.Err(); err != nil {
		return err
	}
	return r.Reader.Get(ctx, key, o, options...)
}

// List reads objects.
func (r *Reader) List(ctx context.Context, list client.ObjectList, options ...client.ListOption) error {
	r.reads.Add(1)
	if err := r.Err(); err != nil {
		return err
	}
	return r.Reader.List(ctx, list, options...)
}
