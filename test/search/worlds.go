package search

import (
	"math/rand/v2"
	"slices"

	"github.com/meshfence/meshfence/policy/object"
)

const (
	// perBase is how many sets of steps are made up for one base.
	perBase = 40
	// perSet is how many times a set is changed by one field.
	perSet = 3
	// maxKept bounds what is kept of earlier worlds to make new objects of.
	maxKept = 400
)

// BaseOf returns a base by its number; the same seed gives the same bases.
func BaseOf(seed uint64, n int) Base { return newBase(random(seed, n)) }

func random(seed uint64, n int) *rand.Rand { return rand.New(rand.NewPCG(seed, uint64(n))) }

// Generate makes up the worlds of one base, lets meshfence decide on each, and visits them as long as visit returns
// true. The worlds depend on the seed, the number and what meshfence accepts, and on nothing else.
func Generate(seed uint64, n int, visit func(World, Decided) bool) error {
	r := random(seed, n)
	w := &worlds{Rand: r, base: newBase(r), visit: visit}
	for range perBase {
		if w.set(); w.err != nil || w.stopped {
			return w.err
		}
	}
	return nil
}

// worlds are those of one base.
type worlds struct {
	*rand.Rand

	base    Base
	visit   func(World, Decided) bool
	kept    []Object
	stopped bool
	err     error
}

// set goes through one set of steps, in both orders, and through changes of what it has.
func (w *worlds) set() {
	g := newGenerator(w.Rand, w.base, w.kept)
	world := World{Base: w.base, Steps: g.steps()}
	if len(world.Steps) == 0 {
		return
	}
	w.decide(world)
	if len(world.Steps) > 1 {
		reversed := world.clone()
		slices.Reverse(reversed.Steps)
		w.decide(reversed)
	}
	for range perSet {
		step, ok := w.later(g, world)
		if !ok {
			return
		}
		world = world.clone()
		world.Steps = append(world.Steps, step)
		w.decide(world)
	}
}

// later makes up a request that comes after those of a world: an object is changed or deleted, or a Service or a Pod.
func (w *worlds) later(g *generator, world World) (Step, bool) {
	if chance(w.Rand, 0.15) {
		return g.kubernetes(pick(w.Rand, []string{object.KindService, object.KindService, object.KindPod})), true
	}
	of := pick(w.Rand, world.Steps)
	if of.Delete || of.Status {
		return Step{}, false
	}
	if chance(w.Rand, 0.1) {
		return Step{Object: of.Object, Delete: true}, true
	}
	next, ok := g.change(of.Object)
	return Step{Object: next}, ok
}

// decide visits one world, and keeps what was accepted.
func (w *worlds) decide(world World) {
	if w.err != nil || w.stopped {
		return
	}
	d, err := Decide(world)
	if err != nil {
		w.err = err
		return
	}
	for i, step := range world.Steps {
		if d.Accepted(i) && messageOf(step.Object.Kind()) != nil && len(w.kept) < maxKept {
			w.kept = append(w.kept, step.Object)
		}
	}
	w.stopped = !w.visit(world, d)
}
