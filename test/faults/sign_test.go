package faults_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// sign is something that tells a user of a fault.
type sign struct {
	name string
	// seen returns nil if it can be seen now, and has come since.
	seen func(ctx context.Context, b *bed, since time.Time) error
}

// event is an Event of that reason.
func event(reason string) sign {
	return sign{"Event " + reason, func(ctx context.Context, b *bed, since time.Time) error {
		events, err := b.client.EventsV1().Events("").List(ctx, metav1.ListOptions{FieldSelector: "reason=" + reason})
		if err != nil {
			return err
		}
		for _, e := range events.Items {
			if e.EventTime.After(since) || e.Series != nil && e.Series.LastObservedTime.After(since) {
				return nil
			}
		}
		return errors.New("no such Event")
	}}
}

// logged is a line of a replica's log whose message or error contains a text.
func logged(text string) sign {
	return sign{fmt.Sprintf("log %q", text), func(_ context.Context, b *bed, since time.Time) error {
		for line := range strings.Lines(b.meshfence.Logs(3000)) {
			var entry struct {
				Time time.Time `json:"time"`
			}
			if json.Unmarshal([]byte(line), &entry) == nil && entry.Time.After(since) && strings.Contains(line, text) {
				return nil
			}
		}
		return errors.New("no such line")
	}}
}

// metric is a series that has a value in a replica.
func metric(series string, value float64) sign {
	return sign{fmt.Sprintf("metric %s %v", series, value), func(ctx context.Context, b *bed, _ time.Time) error {
		for i := range b.meshfence.Replicas() {
			if got, err := b.meshfence.Metric(ctx, i, series); err == nil && got == value {
				return nil
			}
		}
		return errors.New("no replica says so")
	}}
}

// rises is a series that rises in a replica, by so much at least, from what it was when the watching began.
func rises(series string, by float64) sign {
	var first []float64
	return sign{fmt.Sprintf("metric %s rises by %v", series, by), func(ctx context.Context, b *bed, _ time.Time) error {
		for i := range b.meshfence.Replicas() {
			got, err := b.meshfence.Metric(ctx, i, series)
			if err != nil {
				return err
			}
			if i >= len(first) {
				first = append(first, got)
			}
			if got >= first[i]+by {
				return nil
			}
		}
		return errors.New("it does not rise")
	}}
}

// unready is an answer of /readyz that is not ok, or none, of a replica.
func unready(text string) sign {
	name := strings.TrimSpace("readyz " + text)
	return sign{name, func(ctx context.Context, b *bed, _ time.Time) error {
		for i := range b.meshfence.Replicas() {
			answer, err := readyz(ctx, b.meshfence.HealthURL(i))
			if err != nil {
				answer = err.Error()
			}
			if answer != "ok\n" && strings.Contains(answer, text) {
				return nil
			}
		}
		return errors.New("every replica is ready")
	}}
}

func readyz(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/readyz", nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

// watcher looks for signs, of which some show only for a while.
type watcher struct {
	cancel  context.CancelFunc
	running sync.WaitGroup
	mu      sync.Mutex
	missing map[string]bool
}

func watch(ctx context.Context, b *bed, signs []sign) *watcher {
	ctx, cancel := context.WithCancel(ctx)
	w := &watcher{cancel: cancel, missing: map[string]bool{}}
	began := time.Now()
	for _, s := range signs {
		w.missing[s.name] = true
		w.running.Go(func() {
			for ctx.Err() == nil {
				if s.seen(ctx, b, began) == nil {
					w.mu.Lock()
					delete(w.missing, s.name)
					w.mu.Unlock()
					return
				}
				_ = pause(ctx, 100*time.Millisecond) // the loop asks whether it is over
			}
		})
	}
	return w
}

// all returns nil when every sign was seen.
func (w *watcher) all(context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var errs []error
	for name := range w.missing {
		errs = append(errs, errors.New("not seen: "+name))
	}
	return errors.Join(errs...)
}

func (w *watcher) stop() {
	w.cancel()
	w.running.Wait()
}
