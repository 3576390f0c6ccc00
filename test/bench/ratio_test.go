package bench_test

import (
	"flag"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// ratios makes TestRatios measure; it takes a minute on a machine that does nothing else.
var ratios = flag.Bool("ratios", false, "measure what each request costs in relation to one that is only read")

var sizes = map[string]int{"100-services": 100, "100000-services": 100_000}

// budget is what a request may cost.
type budget struct {
	// ratio is its processor time in relation to the floor, without noise.
	ratio float64
	// allocations is how often it allocates, whatever the number of Services.
	allocations float64
}

// budgets are what each scenario costs. A change that makes one dearer has to say why here.
var budgets = map[string]budget{
	"DestinationRule/mutate-edit":              {0.5, 219},
	"DestinationRule/mutate-first":             {0.8, 407},
	"DestinationRule/mutate-noop":              {0.3, 130},
	"DestinationRule/update/validate-deny":     {0.9, 939},
	"DestinationRule/update/validate-existing": {0.75, 924},
	"DestinationRule/update/validate-noop":     {0.25, 143},
	"DestinationRule/validate-deny":            {0.85, 467},
	"DestinationRule/validate-noop":            {0.35, 140},
	"EndpointSlice/update/validate-noop":       {0.3, 171},
	"EndpointSlice/validate-noop":              {0.45, 168},
	"Service/mutate-edit":                      {0.6, 100},
	"Service/mutate-noop":                      {0.4, 69},
	"Service/update/mutate-noop":               {0.3, 69},
	"Service/update/validate-noop":             {0.4, 98},
	"Service/validate-noop":                    {0.45, 70},
	"ServiceEntry/networks/validate-noop":      {0.45, 86},
	"ServiceEntry/update/validate-noop":        {0.35, 89},
	"VirtualService/mutate-edit":               {0.6, 209},
	"VirtualService/mutate-noop":               {0.45, 181},
	"VirtualService/update/mutate-noop":        {0.3, 181},
	"VirtualService/update/validate-noop":      {0.35, 231},
	"VirtualService/validate-deny":             {0.65, 285},
	"VirtualService/validate-noop":             {0.5, 228},
}

const (
	// noise is how much dearer a request may seem beside what else the machine does.
	noise = 1.3
	// growth is how much dearer a request may be with 100,000 Services than with 100: what is left is noise.
	growth = 1.25
	// tries is how often a request is measured until it is within its budget.
	tries = 3
)

// aim is what a request should cost in relation to one that is only read.
func aim(name string) float64 {
	switch {
	case strings.HasSuffix(name, "-noop"):
		return 0.5
	case strings.HasSuffix(name, "-edit"):
		return 0.8
	case strings.HasSuffix(name, "-first"):
		return 1.2
	}
	return 1
}

func BenchmarkAdmission(b *testing.B) {
	for _, size := range slices.Sorted(maps.Keys(sizes)) {
		t := newTarget(b, sizes[size])
		for name, s := range scenarios(b) {
			check(b, name, t, s)
			run := func(h http.Handler) func(*testing.B) {
				return func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						serve(b, h, s)
					}
				}
			}
			b.Run(size+"/"+name, run(t.mux))
			b.Run(size+"/"+name+"-floor", run(t.floor))
		}
	}
}

// TestScenarios keeps the benchmarks honest: each request is answered as its name says, and has a budget.
func TestScenarios(t *testing.T) {
	target := newTarget(t, 100)
	all := scenarios(t)
	for name, s := range all {
		check(t, name, target, s)
	}
	for name := range budgets {
		if _, exists := all[name]; !exists {
			t.Errorf("there is a budget for %s, and no such request", name)
		}
	}
}

// TestAllocations holds each request to its budget by what does not depend on the machine, and wants it to allocate as
// often beside 100,000 Services as beside 100. It is not parallel to other tests, which would count.
func TestAllocations(t *testing.T) {
	few, many := newTarget(t, sizes["100-services"]), newTarget(t, sizes["100000-services"])
	for name, s := range scenarios(t) {
		check(t, name, few, s)
		check(t, name, many, s)
		got, large := allocations(t, few, s), allocations(t, many, s)
		t.Logf("%s: %.0f", name, got)
		if most := budgets[name].allocations * allocationNoise; got > most {
			t.Errorf("%s allocates %.0f times, and its budget is %.0f", name, got, budgets[name].allocations)
		}
		if large > got*allocationNoise+1 {
			t.Errorf("%s allocates %.0f times with 100 Services, and %.0f with 100,000", name, got, large)
		}
	}
}

func allocations(tb testing.TB, t *target, s scenario) float64 {
	tb.Helper()
	return testing.AllocsPerRun(50, func() { serve(tb, t.mux, s) })
}

// TestRatios holds each request to its budget by the time of the processor, that of the garbage collector too, beside the
// floor in the same run; and to that beside 100 Services where there are 100,000.
func TestRatios(t *testing.T) {
	if !*ratios {
		t.Skip("measures only with -ratios")
	}
	few, many := newTarget(t, sizes["100-services"]), newTarget(t, sizes["100000-services"])
	all := scenarios(t)
	t.Logf("%-38s %9s %9s %6s %9s %6s %6s", "request", "floor", "100", "ratio", "100,000", "budget", "aim")
	for _, name := range slices.Sorted(maps.Keys(all)) {
		s, most := all[name], budgets[name].ratio
		check(t, name, few, s)
		check(t, name, many, s)
		var floor, small, large time.Duration
		for range tries {
			took := medians(t, s, few.floor, few.mux, many.mux)
			floor, small, large = took[0], took[1], took[2]
			if ratio(small, floor) <= most*noise && ratio(large, small) <= growth {
				break
			}
		}
		t.Logf("%-38s %9s %9s %6.2f %9s %6.2f %6.1f", name, rounded(floor), rounded(small), ratio(small, floor), rounded(large), most, aim(name))
		if r := ratio(small, floor); r > most*noise {
			t.Errorf("%s costs %.2f times what the floor does, and its budget is %.2f", name, r, most)
		}
		if r := ratio(large, small); r > growth {
			t.Errorf("%s costs %.2f times as much with 100,000 Services, want at most %.2f", name, r, growth)
		}
	}
}

// medians measures handlers in turns, so that what else the machine does meets all, and returns the median of each. The
// turns are in any order: the garbage collector, which comes by the bytes, would else meet the same one in each round.
func medians(t *testing.T, s scenario, handlers ...http.Handler) []time.Duration {
	t.Helper()
	const rounds, perRound = 100, 20
	took := make([][]time.Duration, len(handlers))
	for range rounds {
		for _, i := range rand.Perm(len(handlers)) {
			start := processorTime(t)
			for range perRound {
				serve(t, handlers[i], s)
			}
			took[i] = append(took[i], (processorTime(t)-start)/perRound)
		}
	}
	middle := make([]time.Duration, len(handlers))
	for i, d := range took {
		slices.Sort(d)
		middle[i] = d[len(d)/2]
	}
	return middle
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
