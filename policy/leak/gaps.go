package leak

import (
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/object"
)

// gaps turns those gaps in an object that a rule counts into breaches.
func gaps(w Write, view *policy.View, counts func(inject.Gap) bool) []breach {
	return breaches(w.gaps.of(w.Object, view).Gaps, counts)
}

func breaches(gaps []inject.Gap, counts func(inject.Gap) bool) []breach {
	var found []breach
	for _, g := range gaps {
		if counts(g) {
			if found == nil {
				found = make([]breach, 0, len(gaps))
			}
			found = append(found, breach{path: g.Path, value: g.Value, at: g.At, host: g.Host, must: g.Must, instead: g.Fix, repaired: g.Repaired})
		}
	}
	return found
}

// foundGaps are the gaps of one object, which are worked out once for all rules that ask for them.
type foundGaps struct {
	known bool
	plan  inject.Plan

	knownTaken bool
	taken      []takenHost

	to *destinations
}

// destinations answers for the destinations of the object of a write, each once for all rules.
func (w Write) destinations(view *policy.View) *destinations {
	if w.gaps.to == nil {
		w.gaps.to = newDestinations(view)
	}
	return w.gaps.to
}

// takenOver is takenOver for the object of a write, worked out once for all rules that ask for it.
func (w Write) takenOver(view *policy.View) []takenHost {
	if !w.gaps.knownTaken {
		w.gaps.knownTaken, w.gaps.taken = true, takenOver(w.Object, view)
	}
	return w.gaps.taken
}

func (f *foundGaps) of(o *object.Object, view *policy.View) inject.Plan {
	if !f.known {
		f.known, f.plan = true, inject.Object(o, view)
	}
	return f.plan
}
