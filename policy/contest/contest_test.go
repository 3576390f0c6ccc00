package contest_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/policy/contest"
)

// TestTwoWriters: of two who answer each other at once, each writes but a few times.
func TestTwoWriters(t *testing.T) {
	t.Parallel()
	var r contest.Record
	start := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	var writes, told int
	for now := start; now.Before(start.Add(time.Hour)); now = now.Add(10 * time.Millisecond) {
		if r.Wait("ours", now) > 0 {
			continue
		}
		writes++
		if r.Wrote("ours", now) {
			told++
		}
		if want := told > 0; r.Contested(now) != want {
			t.Fatalf("after %d writes contested = %t", writes, !want)
		}
	}
	if diff := cmp.Diff([]int{20, 1}, []int{writes, told}); diff != "" {
		t.Errorf("writes and reports in an hour (-want +got):\n%s", diff)
	}
	if r.Contested(start.Add(2 * time.Hour)) {
		t.Error("still contested when nobody has changed anything for an hour")
	}
	if r.Wrote("ours", start.Add(2*time.Hour)) || r.Wait("ours", start.Add(2*time.Hour)) != 0 {
		t.Error("it does not begin anew")
	}
}

// TestChangesAreNoContest: who writes something else each time answers nobody.
func TestChangesAreNoContest(t *testing.T) {
	t.Parallel()
	var r contest.Record
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	for i := range 100 {
		what := []string{"strict", "prefer"}[i%2]
		if r.Wait(what, now) != 0 || r.Wrote(what, now) || r.Contested(now) {
			t.Fatalf("contested at write %d", i)
		}
	}
}
