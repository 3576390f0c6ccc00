package webhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"golang.org/x/sync/semaphore"
)

const (
	// DefaultBytesInFlight is how much of bodies is held at once where the options do not say.
	DefaultBytesInFlight = 16 << 20
	// maxReview is the largest body that is judged. An API server takes requests of 3 MiB and stores objects of half of
	// that (MaxRequestBodyBytes in k8s.io/apiserver's pkg/server/config.go, etcd's --max-request-bytes). A review
	// has both the new and the old object, in a JSON that may take six bytes for one.
	maxReview = 32 << 20
	// firstBytes of a body are waited for before all of it is reserved: who sends nothing takes little from others.
	firstBytes = 64 << 10
	// roomWait is how long a body waits for room.
	roomWait = time.Second
)

// errBusy reports whether there was no room for a body, errLarge that there never is.
var (
	errBusy  = errors.New("busy: too much is being judged already, try again")
	errLarge = fmt.Errorf("too large to be judged: the review has more than %d bytes", int64(maxReview))
)

// gate bounds how much of bodies is held at once.
type gate struct {
	room  *semaphore.Weighted
	size  int64
	count func(bytes int64)
}

func newGate(size int64, count func(int64)) *gate {
	return &gate{room: semaphore.NewWeighted(size), size: size, count: count}
}

// read reads a body of that length. What it holds counts until release is called, which must be done whatever the error.
func (g *gate) read(ctx context.Context, body io.Reader, length int64) (data []byte, release func(), err error) {
	if length > maxReview {
		return nil, func() {}, errLarge
	}
	var held int64
	release = func() {
		g.room.Release(held)
		g.count(-held)
	}
	for _, size := range slices.Compact([]int64{min(length, firstBytes), length}) {
		// One that is larger than the gate passes alone.
		more := min(size, g.size) - held
		if err := g.wait(ctx, more); err != nil {
			return data, release, err
		}
		held += more
		g.count(more)
		read := len(data)
		data = append(make([]byte, 0, size), data...)[:size]
		if n, err := io.ReadFull(body, data[read:]); err != nil {
			return data[:read+n], release, fmt.Errorf("read the body: %w", err)
		}
	}
	return data, release, nil
}

// wait takes room for so many bytes.
func (g *gate) wait(ctx context.Context, bytes int64) error {
	if g.room.TryAcquire(bytes) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, roomWait)
	defer cancel()
	if g.room.Acquire(ctx, bytes) != nil {
		return errBusy
	}
	return nil
}
