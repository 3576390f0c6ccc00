package search

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
)

// Rate counts, for one rule, the steps that were tried alone among what was accepted before, and what came of them.
type Rate struct {
	// Tried is how many there were.
	Tried int
	// Harmless are those that leak nothing.
	Harmless int
	// Lacking are those that leak in a world that is completed, such as by the destination of a route.
	Lacking int
}

// untried are the rules that are not about where the clients of this cluster are sent, and why: what they refuse or warn of
// is counted, and not tried.
func untried() map[string]string {
	return map[string]string{
		"companion-name-reserved":          "keeps a name for the object that holds a host",
		"companion-removed":                "keeps the object that holds a host, which the controller of a world makes again at once",
		"gateway-exposes-fenced-host":      "is about clients of other clusters",
		"service-ingress-waypoint":         "is about waypoints, of which no world has one",
		"serviceentry-selects-fenced-pods": "is about another name for the Pods of a host",
	}
}

// Trial is what comes of a step that is stored whatever is said of it.
type Trial int

const (
	// Leaking steps have a connection leave.
	Leaking Trial = iota
	// Harmless ones do not, and would not in a completed world.
	Harmless
	// Lacking ones do not, and would in a completed world.
	Lacking
)

func (r *Rate) add(t Trial) {
	r.Tried++
	switch t {
	case Harmless:
		r.Harmless++
	case Lacking:
		r.Lacking++
	}
}

// percent returns the share of the harmless.
func (r Rate) percent() float64 {
	if r.Tried == 0 {
		return 0
	}
	return 100 * float64(r.Harmless) / float64(r.Tried)
}

// tried stores what was refused all the same, now and then, and looks at what was warned of, and counts what leaks
// nothing.
func (s *searcher) tried(r *rand.Rand, w World, d Decided) {
	for i, a := range d.Answers {
		if d.Invalid[i] != nil || len(a.Refused)+len(a.Warned) == 0 || !chance(r, s.Trials) {
			continue
		}
		upTo := World{Base: w.Base}
		for j, step := range w.Steps[:i+1] {
			if j == i || d.Accepted(j) {
				upTo.Steps = append(upTo.Steps, step)
			}
		}
		among, said := s.report.Refused, rules(d.asked(a.Refused))
		if len(a.Refused) == 0 {
			among, said = s.report.Warned, rules(d.asked(a.Warned))
		}
		if len(said) == 0 {
			continue
		}
		if rule := pick(r, said); untried()[rule] != "" {
			s.report.Untried[rule]++
		} else {
			s.try(upTo, rule, among)
		}
	}
}

// asked leaves out what is said of Services that are not strict: nobody asks where their traffic goes.
func (d Decided) asked(findings []leak.Finding) []leak.Finding {
	return slices.DeleteFunc(slices.Clone(findings), func(f leak.Finding) bool {
		host, ok := hostname.Parse(f.Host.Host, domain)
		if !ok {
			return false
		}
		_, exists := d.product.stored[object.Key{Kind: object.KindService, Namespace: host.Namespace, Name: host.Name}]
		return exists && !slices.Contains(d.product.strict(), f.Host.Host)
	})
}

// try counts what comes of the last step of a world, of which a rule says something.
func (s *searcher) try(w World, rule string, among map[string]*Rate) {
	last := len(w.Steps) - 1
	got, finding, err := s.evaluator.Try(w, last, rule)
	if err != nil {
		s.problem(err)
		return
	}
	if among[rule] == nil {
		among[rule] = &Rate{}
	}
	among[rule].add(got)
	if got != Harmless {
		return
	}
	if d, err := Decide(w, last); err == nil {
		if s.report.Shapes[rule] == nil {
			s.report.Shapes[rule] = map[string]int{}
		}
		s.report.Shapes[rule][d.product.shapeOf(w.Steps[last], finding)]++
	}
	of := func(w World, f leak.Finding) Finding {
		return Finding{World: w, Rule: rule, Refused: len(w.Steps) - 1, Message: f.Field() + ": " + f.Message()}
	}
	key := w.Steps[last].Object.Key()
	s.found(of(w, finding), s.report.Harmless, func(w World) (Finding, bool) {
		last := len(w.Steps) - 1
		if w.Steps[last].Object.Key() != key {
			return Finding{}, false
		}
		got, finding, err := s.evaluator.Try(w, last, rule)
		return of(w, finding), err == nil && got == Harmless
	})
}

// Try says what comes of a step of a world of which a rule says something, and what the rule says.
func (e *Evaluator) Try(w World, step int, rule string) (Trial, leak.Finding, error) {
	d, err := Decide(w)
	if err != nil {
		return Leaking, leak.Finding{}, err
	}
	said := slices.Concat(d.Answers[step].Refused, d.Answers[step].Warned)
	i := slices.IndexFunc(said, func(f leak.Finding) bool { return f.Rule == rule })
	if i < 0 {
		return Leaking, leak.Finding{}, nil
	}
	leaks, stored, err := e.adds(w, step, step+1)
	if err != nil || leaks {
		return Leaking, said[i], err
	}
	for _, completed := range stored.product.completions(w.Steps[step], said[i]) {
		whole := w.clone()
		whole.Steps[step] = completed.step
		whole.Steps = append(whole.Steps, completed.more...)
		end := step + 1
		if w.Steps[step].Object.Kind() == object.KindWorkloadGroup {
			end = len(whole.Steps) // istiod makes the WorkloadEntry because of it
		}
		if leaks, _, err = e.adds(whole, step, end); err != nil || leaks {
			return Lacking, said[i], err
		}
	}
	return Harmless, said[i], nil
}

// adds reports whether a world in which a step and all later ones are stored has more connections leave than there are
// without the steps from that one up to another.
func (e *Evaluator) adds(w World, step, end int) (bool, Decided, error) {
	with, err := Decide(w, from(step, len(w.Steps))...)
	if err != nil || with.Invalid[step] != nil {
		return false, with, err
	}
	leaks, err := e.Leaks(with)
	if err != nil || len(leaks) == 0 {
		return false, with, err
	}
	less := w.clone()
	less.Steps = slices.Delete(less.Steps, step, end)
	without, err := Decide(less, from(step, len(less.Steps))...)
	if err != nil {
		return false, with, err
	}
	before, err := e.Leaks(without)
	known := keysOf(before)
	return slices.ContainsFunc(leaks, func(l Leak) bool { return !slices.Contains(known, l.Key()) }), with, err
}

// from lists the numbers from one up to another.
func from(first, end int) []int {
	var numbers []int
	for n := first; n < end; n++ {
		numbers = append(numbers, n)
	}
	return numbers
}

// rates prints the rates of all rules.
func rates(what string, of map[string]*Rate) string {
	var b strings.Builder
	var all Rate
	fmt.Fprintf(&b, "%s, stored all the same: harmless of those that were tried; those that leak in a completed world alone\n", what)
	for _, id := range slices.Sorted(maps.Keys(of)) {
		r := *of[id]
		all = Rate{all.Tried + r.Tried, all.Harmless + r.Harmless, all.Lacking + r.Lacking}
		fmt.Fprintf(&b, "  %-44s %s\n", id, r)
	}
	fmt.Fprintf(&b, "  %-44s %s\n", "all", all)
	return b.String()
}

// String prints a rate.
func (r Rate) String() string {
	return fmt.Sprintf("%4d of %4d (%3.0f %%), %4d", r.Harmless, r.Tried, r.percent(), r.Lacking)
}
