package change

import (
	"context"
	"time"
)

// Signal tells one who waits that there is something to do. However often it is set, it wakes once.
type Signal chan struct{}

// NewSignal returns a signal that is not set.
func NewSignal() Signal { return make(Signal, 1) }

// Set sets the signal. It never blocks.
func (s Signal) Set() {
	select {
	case s <- struct{}{}:
	default: // it is set
	}
}

// Wait waits for the signal, and reports whether the context still runs.
func (s Signal) Wait(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-s:
		return true
	}
}

// WaitFor waits for the signal for as long as the time given, and reports whether the context still runs.
func (s Signal) WaitFor(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	case <-s:
	}
	return true
}

// Sleep waits for the time to pass, and reports whether the context still runs.
func Sleep(ctx context.Context, wait time.Duration) bool { return Signal(nil).WaitFor(ctx, wait) }
