package leak

import (
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// virtualServiceForeignHost refuses a VirtualService that takes over the traffic of a strict host and sends it to
// a host that is not strict, by itself or through a delegate, and a delegate that does [C3, C5, C14, H5].
func virtualServiceForeignHost() Rule {
	return Rule{
		ID:      "virtualservice-foreign-host",
		Summary: "A VirtualService for a strict host must send its requests to strict hosts.",
		Why: "Whatever the destination is, the hold of the first host ends there. A ServiceEntry, a Service that " +
			"is not strict, and one that is strict in name alone because other workloads join it, lead out of " +
			"the cluster. A delegate counts as the VirtualService that uses it.",
		Fix:       "Fence that destination too, or name another one.",
		Rows:      []string{"C3", "C5", "C14", "C15", "C17", "H5"},
		Kinds:     []string{object.KindVirtualService},
		Severity:  Deny,
		Otherwise: "the host's traffic goes where no fence keeps it in this cluster",
		Instead:   "fence that destination too, or name another one",
		check: func(o Write, view *policy.View) []breach {
			return foreignDestinations(o, view, false)
		},
	}
}
