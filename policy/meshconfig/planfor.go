package meshconfig

import (
	"errors"

	"github.com/meshfence/meshfence/policy"
)

// Key is the key of the mesh config in a mesh ConfigMap.
const Key = "mesh"

// Scope yields the entries that hold meshConfig needs, and fewer of them for when they are too many. A
// [policy.Index] and a [policy.View] are one; nil wants no entries at all.
type Scope interface {
	ClusterLocal() []policy.ClusterLocalEntry
	FoldedClusterLocal() []policy.ClusterLocalEntry
}

// PlanFor plans the mesh config of a ConfigMap, given by its data and annotations. Where the wanted
// entries do not fit beside the other keys, the folded ones are taken.
func PlanFor(data, annotations map[string]string, domain string, scope Scope) (Plan, error) {
	limit := Limit
	for key, value := range data {
		if key != Key {
			limit -= len(key) + len(value)
		}
	}
	in := Input{
		Text:   data[Key],
		Owned:  annotations[ClusterLocalHostsAnnotation],
		Domain: domain,
		Limit:  limit,
	}
	if scope != nil {
		in.Want = scope.ClusterLocal()
	}
	plan, err := PlanText(in)
	if _, large := errors.AsType[*TooLarge](err); large && scope != nil {
		in.Want = scope.FoldedClusterLocal()
		return PlanText(in)
	}
	return plan, err
}
