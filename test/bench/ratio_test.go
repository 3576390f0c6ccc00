package bench_test

import (
	"flag"
	"maps"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// ratios makes TestRatios measure; it takes some seconds on a machine that does nothing else.
var ratios = flag.Bool("ratios", false, "print what each request costs in relation to one that is only read")

var sizes = map[string]int{"100-services": 100, "100000-services": 100_000}

func BenchmarkAdmission(b *testing.B) {
	for _, size := range slices.Sorted(maps.Keys(sizes)) {
		t := newTarget(b, sizes[size])
		for name, s := range scenarios(b) {
			check(b, name, t, s)
			run := func(h http.Handler) func(*testing.B) {
				return func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						serve(h, s)
					}
				}
			}
			b.Run(size+"/"+name, run(t.mux))
			b.Run(size+"/"+name+"-floor", run(t.floor))
		}
	}
}

// TestScenarios keeps the benchmarks honest: each request is answered as its name says.
func TestScenarios(t *testing.T) {
	t.Parallel()
	target := newTarget(t, 100)
	for name, s := range scenarios(t) {
		check(t, name, target, s)
	}
}

// growth is how much dearer a request may be with 100,000 Services than with 100: what is left is noise.
const growth = 1.25

// aim is what a request should cost in relation to one that is only read.
func aim(name string) string {
	switch {
	case strings.HasSuffix(name, "-noop"):
		return "aim 1.3"
	case strings.HasSuffix(name, "-edit"):
		return "aim 1.6"
	}
	return "no aim"
}

// TestRatios measures each request and the floor in turns, so that what else the machine does meets both, and
// compares the medians of the rounds. A refusal, and the first fencing of a rule with many subsets, may cost
// what they take; no request may cost more because there are more Services. It counts the time of the processor, that of the garbage collector too,
// and so does not mind waiting for its turn.
func TestRatios(t *testing.T) {
	if !*ratios {
		t.Skip("measures only with -ratios")
	}
	const rounds, perRound = 200, 20
	targets := map[string]*target{}
	for size, services := range sizes {
		targets[size] = newTarget(t, services)
	}
	all := scenarios(t)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		s := all[name]
		handlers := map[string]http.Handler{"floor": targets["100-services"].floor}
		for size, target := range targets {
			check(t, name, target, s)
			handlers[size] = target.mux
		}
		took := map[string][]time.Duration{}
		for range rounds {
			for _, label := range slices.Sorted(maps.Keys(handlers)) {
				start := processorTime(t)
				for range perRound {
					serve(handlers[label], s)
				}
				took[label] = append(took[label], (processorTime(t)-start)/perRound)
			}
		}
		floor := median(took["floor"])
		small, large := median(took["100-services"]), median(took["100000-services"])
		t.Logf("%-30s floor %8s  100 Services %8s = %.2f  100,000 Services %8s = %.2f  (%s)", name, rounded(floor),
			rounded(small), ratio(small, floor), rounded(large), ratio(large, floor), aim(name))
		if r := ratio(large, small); r > growth {
			t.Errorf("%s costs %.2f times as much with 100,000 Services, want at most %.2f", name, r, growth)
		}
	}
}

func rounded(d time.Duration) time.Duration { return d.Round(time.Microsecond / 10) }

func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}
