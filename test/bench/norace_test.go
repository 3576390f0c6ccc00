//go:build !race

package bench_test

// allocationNoise is for pools that are emptied in between.
const allocationNoise = 1.02
