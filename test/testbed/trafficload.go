package testbed

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Load is a stream of calls at a steady rate.
type Load struct {
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu      sync.Mutex
	records Records
}

// StartLoad calls at a rate until Stop, or until ctx ends. No call waits for another one; where the machine was too
// slow to start them in time, the missing ones are made up for.
func (c *Client) StartLoad(ctx context.Context, r Request, perSecond int) *Load {
	running, cancel := context.WithCancel(ctx)
	l := &Load{cancel: cancel}
	l.done.Go(func() {
		ticker := time.NewTicker(time.Second / time.Duration(perSecond))
		defer ticker.Stop()
		started, begun := 0, time.Now()
		for {
			for ; started < int(time.Since(begun).Seconds()*float64(perSecond)); started++ {
				// Stop ends the stream, not the calls under way: they are part of the load.
				l.done.Go(func() { l.add(c.Call(ctx, r)) })
			}
			select {
			case <-ticker.C:
			case <-running.Done():
				return
			}
		}
	})
	return l
}

func (l *Load) add(record Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records = append(l.records, record)
}

// Records returns the calls that have ended so far, by their start.
func (l *Load) Records() Records {
	l.mu.Lock()
	records := slices.Clone(l.records)
	l.mu.Unlock()
	records.sort()
	return records
}

// Next waits until n calls that start from now on have ended, and returns them.
func (l *Load) Next(ctx context.Context, n int) (Records, error) {
	from := time.Now()
	var records Records
	err := Eventually(ctx, settleWithin, func(context.Context) error {
		if records = l.Records().Since(from); len(records) < n {
			return fmt.Errorf("%d calls of %d have ended", len(records), n)
		}
		return nil
	})
	return records, err
}

// Stop ends the stream, waits for calls under way, and returns all of them.
func (l *Load) Stop() Records {
	l.cancel()
	l.done.Wait()
	return l.Records()
}
