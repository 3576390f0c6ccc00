package leak

import (
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// virtualServiceMirror refuses a VirtualService that takes over the traffic of a strict host and copies it to a
// host that is not strict, by itself or through a delegate, and a delegate that does [C4, C5].
func virtualServiceMirror() Rule {
	return Rule{
		ID:      "virtualservice-mirror",
		Summary: "A VirtualService for a strict host must copy its requests to strict hosts alone.",
		Why: "A mirror sends a copy of every request to another host. A copy that leaves the cluster is a leak " +
			"like the request itself.",
		Fix:       "Fence that destination too, or name another one.",
		Rows:      []string{"C4", "C5"},
		Kinds:     []string{object.KindVirtualService},
		Severity:  Deny,
		Otherwise: "a copy of the host's requests goes where no fence keeps it in this cluster",
		Instead:   "fence that destination too, or name another one",
		check: func(o Write, view *policy.View) []breach {
			return foreignDestinations(o, view, true)
		},
	}
}
