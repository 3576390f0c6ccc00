package leak

import (
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/inject"
)

// gaps turns those gaps in an object that a rule counts into breaches.
func gaps(o *policy.Object, view *policy.View, counts func(inject.Gap) bool) []breach {
	var found []breach
	for _, g := range inject.Object(o, view).Gaps {
		if counts(g) {
			found = append(found, breach{path: g.Path, value: g.Value, at: g.At, host: g.Host, must: g.Must})
		}
	}
	return found
}
