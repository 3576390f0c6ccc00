package contest_test

import (
	"fmt"
	"time"

	"github.com/meshfence/meshfence/policy/contest"
)

// Somebody else undoes the same write again and again: from some time on it is made ever more slowly.
func Example() {
	var object contest.Record
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	for range 6 {
		now = now.Add(object.Wait("the same", now))
		object.Wrote("the same", now)
	}
	fmt.Println(object.Contested(now), object.Wait("the same", now) > 0, object.Wait("another", now))
	// Output: true true 0s
}
