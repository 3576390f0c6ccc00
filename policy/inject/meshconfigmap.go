package inject

import (
	"errors"

	"github.com/meshfence/meshfence/policy"
)

// MeshConfigKey is the key of the mesh config in a mesh ConfigMap.
const MeshConfigKey = "mesh"

// MeshConfigMap plans the mesh config of a ConfigMap, given by its data and annotations. Where the wanted
// entries do not fit beside the other keys, the folded ones are taken (see [policy.Index.FoldedClusterLocal]).
func MeshConfigMap(data, annotations map[string]string, domain string, want, folded []policy.ClusterLocalEntry) (MeshConfigPlan, error) {
	limit := MeshConfigLimit
	for key, value := range data {
		if key != MeshConfigKey {
			limit -= len(key) + len(value)
		}
	}
	in := MeshConfigInput{
		Text:   data[MeshConfigKey],
		Owned:  annotations[ClusterLocalHostsAnnotation],
		Want:   want,
		Domain: domain,
		Limit:  limit,
	}
	plan, err := MeshConfig(in)
	if _, large := errors.AsType[*MeshConfigTooLarge](err); large {
		in.Want = folded
		return MeshConfig(in)
	}
	return plan, err
}
