package backfill_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/meshfence/meshfence/controller/backfill"
	"github.com/meshfence/meshfence/controller/mesh"
	"github.com/meshfence/meshfence/policy/object"
)

func ruleNamed(name, version string) *unstructured.Unstructured {
	u := mesh.ObjectOf(schema.GroupVersionKind{Group: "networking.istio.io", Version: "v1", Kind: object.KindDestinationRule})
	u.SetNamespace("shop")
	u.SetName(name)
	u.SetResourceVersion(version)
	return u
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
				got = append(got, p.Set(ruleNamed("reviews", "1"), backfill.Pending, backfill.Unchanged())...)
			}
			got = append(got, p.Set(ruleNamed("reviews", "1"), backfill.Done, "")...)
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
	a, b, c := ruleNamed("a", "1"), ruleNamed("b", "1"), ruleNamed("c", "1")
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
		{"its next version is not denied", func() any { return p.Denied(ruleNamed("b", "2")) }, false, []any{"done", 1, "failed", 1, "pending", 1, "skipped", 0}},
		{"one is skipped", func() any { return p.Set(c, backfill.Skipped, "b comes first") }, []string{"BackfillSkipped"}, []any{"done", 1, "failed", 1, "pending", 0, "skipped", 1}},
		{"what is known is not told again", func() any { return p.Begin(false, c) }, 1, []any{"done", 1, "failed", 1, "pending", 0, "skipped", 1}},
		{"something changes", func() any { p.Reconsider(); return p.Denied(b) }, false, []any{"done", 1, "failed", 1, "pending", 0, "skipped", 1}},
		{"one turns out to be in line", func() any { return p.Drop(c) }, true, []any{"done", 1, "failed", 1, "pending", 0, "skipped", 0}},
		{"which it is known for", func() any { return p.Drop(c) }, false, []any{"done", 1, "failed", 1, "pending", 0, "skipped", 0}},
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
