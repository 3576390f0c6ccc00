package faults_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// writeEvery is how long a writer rests.
	writeEvery = 200 * time.Millisecond
	// calmFor is how long every write must have had the right outcome until a fault counts as over.
	calmFor = 2 * time.Second
)

// allowed says what may happen to writes while a fault lasts, and until it is recovered from.
type allowed struct {
	// delay lets what fails closed be refused because the webhook does not answer.
	delay bool
	// open lets leaks of kinds that fail open pass, of which the audit tells afterwards.
	open bool
	// closed lets leaks of the other kinds pass, too: nobody asks the webhook.
	closed bool
	// silence lets the API server give no answer.
	silence bool
}

// stored is a leak that was accepted.
type stored struct {
	write
	name string
}

// load keeps writing and judges what becomes of it.
type load struct {
	bed     *bed
	allowed allowed
	writes  []write
	cancel  context.CancelFunc
	writers sync.WaitGroup

	mu       sync.Mutex
	tried    int
	delayed  int
	silent   int
	leaks    map[string]int // by the name of the write
	stored   []stored       // the first of each write
	wrong    []string       // refused or failed, and must not
	leaked   []string       // accepted, and must not
	since    map[string]time.Time
	lastSeen map[string]time.Time
}

// startLoad starts a writer for every write.
func startLoad(ctx context.Context, b *bed, f fault) *load {
	ctx, cancel := context.WithCancel(ctx)
	l := &load{
		bed: b, allowed: f.allowed, writes: slices.DeleteFunc(writes(), func(w write) bool { return slices.Contains(f.without, w.name) }),
		cancel: cancel, leaks: map[string]int{}, since: map[string]time.Time{}, lastSeen: map[string]time.Time{},
	}
	for _, w := range l.writes {
		l.writers.Go(func() {
			for ctx.Err() == nil {
				began := time.Now()
				// Not with ctx: its end is not a failure of the write under way.
				o, made, err := w.try(context.WithoutCancel(ctx), b)
				keep := l.count(w, o, began, err)
				if made != nil && !w.dry {
					if keep {
						l.keep(w, made.GetName())
					} else {
						// What cannot be deleted goes at the end.
						_ = b.objects.Resource(w.resource).Namespace(w.namespace).Delete(context.WithoutCancel(ctx), made.GetName(), metav1.DeleteOptions{})
					}
				}
				_ = pause(ctx, writeEvery) // the loop asks whether it is over
			}
		})
	}
	return l
}

// count counts one write, and reports whether it is the first of its kind that let a leak in.
func (l *load) count(w write, o outcome, began time.Time, err error) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tried++
	if !w.right(o) {
		delete(l.since, w.name)
	} else if _, ok := l.since[w.name]; !ok {
		l.since[w.name] = began
	}
	l.lastSeen[w.name] = began
	switch {
	case w.right(o):
	case o == accepted:
		l.leaks[w.name]++
		if w.closed && !l.allowed.closed || !w.closed && !l.allowed.open {
			l.leaked = append(l.leaked, w.name)
		}
		return l.leaks[w.name] == 1
	case o == uncalled && w.closed && l.allowed.delay:
		l.delayed++
	case o == unanswered && l.allowed.silence:
		l.silent++
	default:
		l.wrong = append(l.wrong, fmt.Sprintf("%s: %v", w.name, err))
	}
	return false
}

func (l *load) keep(w write, name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stored = append(l.stored, stored{w, name})
}

// calm returns since when every write has had the right outcome; an error names those that have not for long enough.
// What began before from does not count.
func (l *load) calm(from time.Time) (time.Time, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := from
	var errs []error
	for _, w := range l.writes {
		since, ok := l.since[w.name]
		if ok && since.After(last) {
			last = since
		}
		if since.Before(from) {
			since = from
		}
		if !ok || l.lastSeen[w.name].Sub(since) < calmFor {
			errs = append(errs, errors.New(w.name))
		}
	}
	return last, errors.Join(errs...)
}

// told returns nil once the audit has told of every leak that came in.
func (l *load) told(ctx context.Context) error {
	l.mu.Lock()
	leaks := l.stored
	l.mu.Unlock()
	var errs []error
	for _, leak := range leaks {
		events, err := l.bed.client.EventsV1().Events("").List(ctx, metav1.ListOptions{
			FieldSelector: "reason=Leak,regarding.name=" + leak.name,
		})
		if err != nil {
			return err
		}
		if len(events.Items) == 0 {
			errs = append(errs, fmt.Errorf("no Event tells of %s %s", leak.write.name, leak.name))
		}
	}
	return errors.Join(errs...)
}

// stop ends the writers and deletes what they left.
func (l *load) stop(ctx context.Context) error {
	l.cancel()
	l.writers.Wait()
	var errs []error
	for _, w := range l.writes {
		if w.manifest == "" || w.dry {
			continue
		}
		api := l.bed.objects.Resource(w.resource).Namespace(w.namespace)
		list, err := api.List(ctx, metav1.ListOptions{LabelSelector: loadLabel})
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, object := range list.Items {
			errs = append(errs, api.Delete(ctx, object.GetName(), metav1.DeleteOptions{}))
		}
	}
	return errors.Join(errs...)
}

// few shows the first of many.
func few(all []string) string {
	const most = 3
	if len(all) <= most {
		return strings.Join(all, "\n")
	}
	return fmt.Sprintf("%s\nand %d more", strings.Join(all[:most], "\n"), len(all)-most)
}
