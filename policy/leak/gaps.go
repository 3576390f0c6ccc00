package leak

import (
	"slices"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/inject"
)

// gaps turns those gaps in an object that a rule counts into breaches.
func gaps(w Write, view *policy.View, counts func(inject.Gap) bool) []breach {
	var found []breach
	for _, g := range w.gaps.of(w.Object, view) {
		if counts(g) {
			found = append(found, breach{
				path: g.Path, value: g.Value, at: g.At, host: g.Host, must: g.Must, repaired: w.gaps.repairs(g),
			})
		}
	}
	return found
}

// foundGaps are the gaps of one object, which are worked out once for all rules that ask for them.
type foundGaps struct {
	known bool
	plan  inject.Plan
}

func (f *foundGaps) of(o *policy.Object, view *policy.View) []inject.Gap {
	if !f.known {
		f.known, f.plan = true, inject.Object(o, view)
	}
	return f.plan.Gaps
}

// repairs reports whether admission closes a gap, and so the backfill in an object that stands.
func (f *foundGaps) repairs(g inject.Gap) bool {
	return !g.Blocked && slices.ContainsFunc(f.plan.Edits, func(e inject.Edit) bool {
		return len(e.Path) >= len(g.Path) && slices.Equal(e.Path[:len(g.Path)], g.Path)
	})
}
