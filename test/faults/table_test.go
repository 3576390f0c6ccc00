package faults_test

import (
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
	return slices.Concat([]fault{none}, replicaFaults(), trustFaults())
}
