package faults_test

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/meshfence/meshfence/test/testbed"
)

// fault is something that goes wrong.
type fault struct {
	name string
	// fast ones are part of every run.
	fast bool
	// overlay is the one of the manifests that it happens to; selfSigned unless set.
	overlay string
	// strike does it, and returns once its cause is over. Recovery counts from then.
	strike  func(ctx context.Context, b *bed) error
	allowed allowed
	// without names writes that are not tried.
	without []string
	// recovered is what shows the end of it beside the writes and the work of the leader.
	recovered func(ctx context.Context, b *bed) error
	// within is how long recovery may take.
	within time.Duration
	// said are the signs that tell of it, each of which must be seen.
	said []sign
}

// row is what became of a fault.
type row struct {
	name                            string
	tried, delayed, silent, refused int
	leaks                           string
	recovery                        time.Duration
	said                            string
}

// TestFaults: whatever goes wrong, what fails closed lets no leak in, what is ordinary passes but for what docs/design.md
// says, everything is well again in time, and something tells of it.
func TestFaults(t *testing.T) {
	var rows []row
	t.Cleanup(func() { t.Log("\n" + table(rows)) })
	var b *bed
	// The bed outlives the test of one fault, and not one that did not come to its end.
	ctx := context.WithoutCancel(t.Context())
	defer func() {
		if b != nil {
			b.stop()
		}
	}()
	for _, f := range faults() {
		if !f.fast && !*full {
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			overlay := cmp.Or(f.overlay, selfSigned)
			if b != nil && b.overlay != overlay {
				b.stop()
				b = nil
			}
			var err error
			if b == nil {
				if b, err = newBed(ctx, overlay); err != nil {
					b = nil
					t.Fatal(err)
				}
			}
			rows = append(rows, f.run(t, b))
			if t.Failed() {
				t.Log(b.meshfence.Logs(20))
				b.stop()
				b = nil
			}
		})
	}
}

// run lets the fault happen under load.
func (f fault) run(t *testing.T, b *bed) row {
	t.Helper()
	ctx := t.Context()
	began := time.Now()
	load := startLoad(ctx, b, f)
	if err := testbed.Eventually(ctx, time.Minute, func(context.Context) error {
		_, err := load.calm(began)
		return err
	}); err != nil {
		t.Errorf("before the fault: not as it should be: %v", err)
	}
	signs := watch(ctx, b, f.said)
	defer signs.stop()
	if err := f.strike(ctx, b); err != nil {
		t.Errorf("strike: %v", err)
	}
	over := time.Now()
	recovery := f.recovery(t, b, load, signs, over)
	signs.stop()
	if err := load.stop(ctx); err != nil {
		t.Errorf("clean up: %v", err)
	}
	if recovery > f.within {
		t.Errorf("recovery took %s, more than %s", recovery, f.within)
	}
	if len(load.wrong) > 0 {
		t.Errorf("wrongly refused: %s", few(load.wrong))
	}
	if len(load.leaked) > 0 {
		t.Errorf("leaks accepted: %s", few(load.leaked))
	}
	var names []string
	for _, s := range f.said {
		names = append(names, s.name)
	}
	r := row{f.name, load.tried, load.delayed, load.silent, len(load.wrong), load.leakNames(), recovery, strings.Join(names, ", ")}
	t.Log("\n" + table([]row{r}))
	return r
}

// recovery waits for all that recovery is, and returns how long it took.
func (f fault) recovery(t *testing.T, b *bed, load *load, signs *watcher, over time.Time) time.Duration {
	t.Helper()
	conditions := map[string]func(context.Context) (time.Time, error){
		"every write has its outcome":     func(context.Context) (time.Time, error) { return load.calm(over) },
		"the audit tells of what came in": now(load.told),
		"what tells of the fault":         now(signs.all),
		"the leader does its work":        now(b.leads),
	}
	if f.recovered != nil {
		conditions["recovered"] = now(func(ctx context.Context) error { return f.recovered(ctx, b) })
	}
	last := over
	var mu sync.Mutex
	var waiting sync.WaitGroup
	for name, condition := range conditions {
		waiting.Go(func() {
			err := testbed.Eventually(t.Context(), f.within+time.Minute, func(ctx context.Context) error {
				at, err := condition(ctx)
				mu.Lock()
				defer mu.Unlock()
				if err == nil && at.After(last) {
					last = at
				}
				return err
			})
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	waiting.Wait()
	return last.Sub(over)
}

// now says when a condition came to be so.
func now(condition func(context.Context) error) func(context.Context) (time.Time, error) {
	return func(ctx context.Context) (time.Time, error) {
		err := condition(ctx)
		return time.Now(), err
	}
}

// leakNames says which leaks were accepted, and how often.
func (l *load) leakNames() string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(l.leaks)) {
		names = append(names, fmt.Sprintf("%d %s", l.leaks[name], name))
	}
	return strings.Join(names, ", ")
}

func table(rows []row) string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FAULT\tWRITES\tDELAYED\tUNANSWERED\tWRONGLY REFUSED\tLEAKS ACCEPTED\tRECOVERY\tSAID SO")
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%s\t%s\t%s\n", r.name, r.tried, r.delayed, r.silent, r.refused, r.leaks, r.recovery.Round(100*time.Millisecond), r.said)
	}
	_ = w.Flush() // a Builder takes everything
	return text.String()
}
