package inject

import (
	"errors"

	"github.com/meshfence/meshfence/policy"
)

// MeshConfigKey is the key of the mesh config in a mesh ConfigMap.
const MeshConfigKey = "mesh"

// Scope yields the entries that hold meshConfig needs, and fewer of them for when they are too many. A
// [policy.Index] and a [policy.View] are one; nil wants no entries at all.
type Scope interface {
	ClusterLocal() []policy.ClusterLocalEntry
	FoldedClusterLocal() []policy.ClusterLocalEntry
}

// MeshConfigMap plans the mesh config of a ConfigMap, given by its data and annotations. Where the wanted
// entries do not fit beside the other keys, the folded ones are taken.
func MeshConfigMap(data, annotations map[string]string, domain string, scope Scope) (MeshConfigPlan, error) {
	limit := MeshConfigLimit
	for key, value := range data {
		if key != MeshConfigKey {
			limit -= len(key) + len(value)
		}
	}
	in := MeshConfigInput{
		Text:   data[MeshConfigKey],
		Owned:  annotations[ClusterLocalHostsAnnotation],
		Domain: domain,
		Limit:  limit,
	}
	if scope != nil {
		in.Want = scope.ClusterLocal()
	}
	plan, err := MeshConfig(in)
	if _, large := errors.AsType[*MeshConfigTooLarge](err); large && scope != nil {
		in.Want = scope.FoldedClusterLocal()
		return MeshConfig(in)
	}
	return plan, err
}
