package backfill_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/controller/backfill"
	"github.com/meshfence/meshfence/policy/object"
)

func ruleNamed(name string) *object.Object {
	return &object.Object{Kind: object.KindDestinationRule, Metadata: object.Metadata{Namespace: "shop", Name: name}}
}

// TestUnchanged: an object that keeps coming back from admission as it was is told of once, and one that does so for a
// moment is not.
func TestUnchanged(t *testing.T) {
	t.Parallel()
	for times, want := range map[int][]string{0: nil, 1: nil, 2: nil, 3: {"BackfillUndone"}, 10: {"BackfillUndone"}} {
		t.Run(fmt.Sprint(times), func(t *testing.T) {
			t.Parallel()
			p := backfill.NewProgress()
			var got []string
			for range times {
				got = append(got, p.Set(ruleNamed("reviews"), backfill.Pending, backfill.Unchanged())...)
			}
			got = append(got, p.Set(ruleNamed("reviews"), backfill.Done, "")...)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("Events (-want +got):\n%s", diff)
			}
		})
	}
}

// TestProgress follows objects from their discovery to the end: what is told of each once, what is tried again, and how
// they are counted.
func TestProgress(t *testing.T) {
	t.Parallel()
	p := backfill.NewProgress()
	a, b, c := ruleNamed("a"), ruleNamed("b"), ruleNamed("c")
	for _, step := range []struct {
		name   string
		do     func() any
		want   any
		counts []any
	}{
		{"three are found", func() any { return p.Begin(true, a, b, c) }, 3, []any{"done", 0, "failed", 0, "pending", 3, "skipped", 0}},
		{"one is done", func() any { return p.Set(a, backfill.Done, "") }, []string(nil), []any{"done", 1, "failed", 0, "pending", 2, "skipped", 0}},
		{"one is refused", func() any { return p.Set(b, backfill.Failed, "no") }, []string{"BackfillFailed"}, []any{"done", 1, "failed", 1, "pending", 1, "skipped", 0}},
		{"and again", func() any { return p.Set(b, backfill.Failed, "no") }, []string(nil), []any{"done", 1, "failed", 1, "pending", 1, "skipped", 0}},
		{"is denied", func() any { return p.Denied(b) }, true, []any{"done", 1, "failed", 1, "pending", 1, "skipped", 0}},
		{"waits for a change", func() any { return p.Waiting(b) }, true, []any{"done", 1, "failed", 1, "pending", 1, "skipped", 0}},
		{"one is skipped", func() any { return p.Set(c, backfill.Skipped, "b comes first") }, []string{"BackfillSkipped"}, []any{"done", 1, "failed", 1, "pending", 0, "skipped", 1}},
		{"what is known is not told again", func() any { return p.Begin(false, c) }, 1, []any{"done", 1, "failed", 1, "pending", 0, "skipped", 1}},
		{"something changes", func() any { p.Reconsider(); return p.Denied(b) }, false, []any{"done", 1, "failed", 1, "pending", 0, "skipped", 1}},
		{"nothing is left of all", func() any { return p.Begin(true) }, 0, []any{"done", 1, "failed", 0, "pending", 0, "skipped", 0}},
	} {
		if diff := cmp.Diff(step.want, step.do()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.name, diff)
		}
		if diff := cmp.Diff(step.counts, p.Counts()); diff != "" {
			t.Errorf("%s: counts (-want +got):\n%s", step.name, diff)
		}
	}
}
