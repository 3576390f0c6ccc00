package leak

import "github.com/meshfence/meshfence/policy"

// Finding returns the rule with a check that finds one breach in every object, so that a test sees when the guard
// asks it.
func (r Rule) Finding() Rule {
	r.check = func(Write, *policy.View) []breach { return []breach{{path: []string{"metadata"}, must: "be found"}} }
	return r
}
