//go:build race

package bench_test

// allocationNoise is for pools, of which the race detector drops a part (sync.Pool).
const allocationNoise = 1.2
