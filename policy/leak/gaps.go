package leak

import (
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/inject"
)

// gaps turns those gaps in an object that a rule counts into breaches.
func gaps(w Write, view *policy.View, counts func(inject.Gap) bool) []breach {
	var found []breach
	for _, g := range w.gaps.of(w.Object, view) {
		if counts(g) {
			found = append(found, breach{path: g.Path, value: g.Value, at: g.At, host: g.Host, must: g.Must})
		}
	}
	return found
}

// foundGaps are the gaps of one object, which are worked out once for all rules that ask for them.
type foundGaps struct {
	known bool
	list  []inject.Gap
}

func (f *foundGaps) of(o *policy.Object, view *policy.View) []inject.Gap {
	if !f.known {
		f.known, f.list = true, inject.Object(o, view).Gaps
	}
	return f.list
}
