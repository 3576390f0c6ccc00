package search

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Options say how to search.
type Options struct {
	// Seed is that of the first world; the same seed gives the same worlds.
	Seed uint64
	// Worlds is how many bases are gone through; 0 for as many as fit into Time.
	Worlds int
	// Time is how long to search; 0 for no limit.
	Time time.Duration
	// First is the number of the first base.
	First int
	// Trials is the share of what is refused or warned of that is tried alone, to see whether it is harmless.
	Trials float64
	// Temp returns a folder that goes when the search ends.
	Temp func() string
	// Found is told of every finding of a new shape, when it has been shrunk. It may be nil.
	Found func(Found)
	// Log is told how it goes, now and then.
	Log func(string)
	// Stop ends the search when it is closed. It may be nil.
	Stop <-chan struct{}
}

// Found is a finding and where it comes from.
type Found struct {
	Finding
	// Base is the number of its base, Seed that of the search.
	Base int
	Seed uint64
	// After is how long the search had run.
	After time.Duration
}

// Report is what a search comes to.
type Report struct {
	// Bases, Worlds and Asked count bases, worlds and states that istiod was asked about. CPU is the time that the process
	// has used for everything.
	Bases, Worlds, Asked, Servers int
	Took, CPU                     time.Duration
	// Leaks are findings by signature, and how often each was hit.
	Leaks map[string]*Hits
	// Harmless are refused steps and those warned of that leak nothing, by signature.
	Harmless map[string]*Hits
	// Refused and Warned count, by rule, what came of refused steps that were stored all the same, and of those that were
	// warned of.
	Refused, Warned map[string]*Rate
	// Untried counts what rules say that are not about where clients are sent, Shapes what was harmless by rule and shape.
	Untried map[string]int
	Shapes  map[string]map[string]int
	// Coverage says what was set in accepted objects.
	Coverage Coverage
	// Problems are errors by their text: states that could not be judged.
	Problems map[string]int
	// Disagreed are worlds on which a fresh server says something else.
	Disagreed []string
	// Compared counts those on which a fresh server was asked.
	Compared int
	// Stale are leaks of which a fresh server knows nothing.
	Stale []string
}

// Hits is a finding and how often one of its shape came.
type Hits struct {
	Found
	Count int
}

// maxCoarse is how many leaks of one coarse shape are shrunk. Of what is harmless one of each rule is.
const maxCoarse = 3

// searcher is one run.
type searcher struct {
	Options

	evaluator *Evaluator
	report    *Report
	start     time.Time
	base      int
	coarse    map[string]int
}

// Run searches.
func Run(o Options) *Report {
	quiet()
	s := &searcher{
		Options: o, evaluator: &Evaluator{Temp: o.Temp}, start: time.Now(), coarse: map[string]int{},
		report: &Report{
			Leaks: map[string]*Hits{}, Harmless: map[string]*Hits{}, Refused: map[string]*Rate{}, Warned: map[string]*Rate{},
			Untried: map[string]int{}, Shapes: map[string]map[string]int{}, Coverage: NewCoverage(), Problems: map[string]int{},
		},
	}
	defer s.evaluator.Close()
	told := time.Now()
	for n := o.First; (o.Worlds == 0 || n < o.First+o.Worlds) && !s.over(); n++ {
		s.base = n
		s.one(n)
		s.report.Bases++
		if s.Log != nil && time.Since(told) > 20*time.Second {
			told = time.Now()
			s.Log(s.progress())
		}
	}
	s.report.Took, s.report.CPU = time.Since(s.start), cpu()
	s.report.Asked, s.report.Servers = s.evaluator.Asked, s.evaluator.Started
	return s.report
}

func (s *searcher) progress() string {
	return fmt.Sprintf("%s: %d bases, %d worlds, %.1f/s, %d shapes of leaks, %d of harmless, %d problems",
		time.Since(s.start).Round(time.Second), s.report.Bases, s.report.Worlds, float64(s.report.Worlds)/time.Since(s.start).Seconds(),
		len(s.report.Leaks), len(s.report.Harmless), len(s.report.Problems))
}

// one goes through the worlds of one base.
func (s *searcher) one(n int) {
	base := BaseOf(s.Seed, n)
	leaks, _, err := s.evaluator.leaksOf(World{Base: base})
	if err != nil {
		s.problem(err)
		return
	}
	if len(leaks) > 0 {
		s.problem(fmt.Errorf("a base leaks before anybody writes anything: %s: %s", base, leaks[0]))
		return
	}
	trials := random(^s.Seed, n) // what is tried has no part in what is made up
	err = Generate(s.Seed, n, func(w World, d Decided) bool {
		s.through(trials, w, d)
		return !s.over()
	})
	if err != nil {
		s.problem(err)
	}
}

// cpu returns the time of CPU that this process has used.
func cpu() time.Duration {
	var used syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &used) != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

func (s *searcher) over() bool {
	select {
	case <-s.Stop:
		return true
	default:
		return s.Time > 0 && time.Since(s.start) > s.Time
	}
}

// through judges one world.
func (s *searcher) through(trials *rand.Rand, w World, d Decided) {
	s.report.Worlds++
	accepted := d.accepted(w)
	s.report.Coverage.Add(accepted)
	if len(accepted) > 0 {
		s.leaks(w, d)
	}
	s.tried(trials, w, d)
}

func (s *searcher) problem(err error) { s.report.Problems[err.Error()]++ }

// leaks asks what leaves in a world of which something was accepted.
func (s *searcher) leaks(w World, d Decided) {
	all, err := s.evaluator.Leaks(d)
	if err != nil {
		s.problem(err)
		return
	}
	if s.report.Worlds%200 == 0 {
		s.compare(w, d, all)
	}
	leaks := d.Serious(w, all)
	if len(leaks) == 0 {
		return
	}
	// What was refused is no part of it.
	accepted := World{Base: w.Base, Steps: d.accepted(w)}
	want := worst(leaks)
	first := Finding{World: accepted, Leaks: []Leak{want}}
	if (!s.full(first) || !want.Soft) && !s.confirmed(accepted, want) {
		return
	}
	s.found(first, s.report.Leaks, func(w World) (Finding, bool) {
		now, d, err := s.evaluator.leaksOf(w)
		if err != nil {
			return Finding{}, false
		}
		for i := range w.Steps {
			if !d.Accepted(i) {
				return Finding{}, false
			}
		}
		for _, l := range now {
			if l.Host == want.Host && l.shape() == want.shape() {
				return Finding{World: w, Leaks: []Leak{l}}, true
			}
		}
		return Finding{}, false
	})
}

// confirmed asks a fresh server as well: what leaks there only because of an earlier world is no finding.
func (s *searcher) confirmed(w World, want Leak) bool {
	fresh := &Evaluator{Temp: s.Temp, Fresh: true}
	defer fresh.Close()
	leaks, _, err := fresh.leaksOf(w)
	if err != nil {
		s.problem(err)
		return false
	}
	if slices.Contains(keysOf(leaks), want.Key()) {
		return true
	}
	s.report.Stale = append(s.report.Stale, fmt.Sprintf("%s\n%s\n%s", w.Base, w.YAML(), want))
	s.evaluator.Close()
	return false
}

// worst returns the leak that says most.
func worst(leaks []Leak) Leak {
	for _, l := range leaks {
		if !l.Soft {
			return l
		}
	}
	return leaks[0]
}

// compare asks a fresh server whether it says the same.
func (s *searcher) compare(w World, d Decided, leaks []Leak) {
	s.report.Compared++
	fresh := &Evaluator{Temp: s.Temp, Fresh: true}
	defer fresh.Close()
	again, err := fresh.Leaks(d)
	if err != nil {
		s.problem(err)
		return
	}
	if !slices.Equal(keysOf(leaks), keysOf(again)) {
		s.report.Disagreed = append(s.report.Disagreed, fmt.Sprintf("%s\n%s\nkept: %v\nfresh: %v", w.Base, w.YAML(), keysOf(leaks), keysOf(again)))
	}
}

func keysOf(leaks []Leak) []string {
	keys := make([]string, len(leaks))
	for i, l := range leaks {
		keys[i] = l.Key()
	}
	slices.Sort(keys)
	return keys
}

// full reports whether there are enough findings of that coarse shape.
func (s *searcher) full(f Finding) bool {
	return s.coarse[f.coarse()] >= maxCoarse || f.Rule != "" && s.coarse[f.Rule] > 0
}

// found shrinks a finding unless there are enough of its shape, and keeps it.
func (s *searcher) found(f Finding, among map[string]*Hits, again func(World) (Finding, bool)) {
	if s.full(f) && (f.Rule != "" || f.Leaks[0].Soft) {
		if h := among[f.Signature()]; h != nil {
			h.Count++
		}
		return
	}
	last := f
	still := func(w World) bool {
		now, ok := again(w)
		if ok {
			last = now
		}
		return ok
	}
	steps := shrinkSteps(f.World, still)
	last.World = steps
	fine := last.fine()
	if s.coarse[fine]++; s.coarse[fine] > 1 {
		return
	}
	smallest := Shrink(steps, still)
	last.World = smallest
	s.coarse[f.coarse()]++
	s.coarse[f.Rule]++
	if c := last.coarse(); c != f.coarse() {
		s.coarse[c]++
	}
	signature := last.Signature()
	if h := among[signature]; h != nil {
		h.Count++
		return
	}
	hit := &Hits{Found: Found{Finding: last, Base: s.base, Seed: s.Seed, After: time.Since(s.start)}, Count: 1}
	among[signature] = hit
	if s.Found != nil {
		s.Found(hit.Found)
	}
}

// String prints what a search came to.
func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d bases, %d worlds in %s (%s of CPU): %.1f worlds/s, %d states asked of %d istiods; %d compared with a fresh one, %d disagreed, %d stale\n",
		r.Bases, r.Worlds, r.Took.Round(time.Second), r.CPU.Round(time.Second), float64(r.Worlds)/r.Took.Seconds(), r.Asked, r.Servers, r.Compared, len(r.Disagreed), len(r.Stale))
	fmt.Fprintf(&b, "accepted and leaks: %d shapes\nrefused or warned of and harmless: %d shapes\n", len(r.Leaks), len(r.Harmless))
	b.WriteString(rates("refused", r.Refused))
	b.WriteString(rates("warned of", r.Warned))
	for _, rule := range slices.Sorted(maps.Keys(r.Untried)) {
		fmt.Fprintf(&b, "not tried: %d of %s, which %s\n", r.Untried[rule], rule, untried()[rule])
	}
	b.WriteString(shapes(r.Shapes))
	for _, p := range slices.Sorted(maps.Keys(r.Problems)) {
		fmt.Fprintf(&b, "problem (%d): %s\n", r.Problems[p], p)
	}
	for _, d := range r.Disagreed {
		fmt.Fprintf(&b, "a fresh istiod disagrees:\n%s\n", d)
	}
	for _, d := range r.Stale {
		fmt.Fprintf(&b, "a fresh istiod knows nothing of this leak:\n%s\n", d)
	}
	b.WriteString(r.Coverage.String())
	return b.String()
}

// Summary says in a line what is wrong.
func (f Finding) Summary() string {
	if f.Rule != "" {
		return fmt.Sprintf("harmless, and refused or warned of by %s: %s", f.Rule, f.Message)
	}
	return "accepted and leaks: " + f.Leaks[0].String()
}

// Text prints a finding so that it can be read and made again.
func (f Found) Text() string {
	return fmt.Sprintf("# %s\n# base: %s\n# found in base %d of SEED=%d after %s\n%s",
		f.Summary(), f.World.Base, f.Base, f.Seed, f.After.Round(time.Second), f.World.YAML())
}
