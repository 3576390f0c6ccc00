package faults_test

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// faults are all of them, in the order in which they come. The first is none: what is wrong there is wrong with the test.
func faults() []fault {
	none := fault{
		name: "none", fast: true,
		strike: func(ctx context.Context, _ *bed) error { return pause(ctx, time.Second) },
		within: 10 * time.Second,
	}
	all := slices.Concat([]fault{none}, replicaFaults(), wireFaults(), clusterFaults(), configFaults(), meshFaults(), scopeFaults(), trustFaults())
	// Those of another overlay come after the others: they need a cluster of their own.
	slices.SortStableFunc(all, func(a, b fault) int { return cmp.Compare(a.overlay, b.overlay) })
	return all
}
