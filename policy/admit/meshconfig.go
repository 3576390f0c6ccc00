package admit

import (
	"fmt"
	"slices"

	kjson "sigs.k8s.io/json"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/meshconfig"
	"github.com/meshfence/meshfence/policy/object"
)

// IsMeshConfigMap reports whether a ConfigMap is one of the mesh ConfigMaps that the FenceConfig names.
func IsMeshConfigMap(namespace, name string, config *policy.Config) bool {
	return namespace == config.IstioNamespace && slices.Contains(config.MeshConfigMaps, name)
}

// mutateMeshConfig puts the entries of hold meshConfig back into a mesh ConfigMap, in the same request in which
// an installer resets it. A mesh config that cannot be edited passes as it is: Istio judges it, and the
// controller reports that it does not hold the scope.
func mutateMeshConfig(s Request, view *policy.View) ([]inject.Edit, error) {
	var obj struct {
		Metadata object.Metadata   `json:"metadata"`
		Data     map[string]string `json:"data"`
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(s.Raw, &obj); err != nil {
		return nil, &BadRequest{fmt.Errorf("decode %s: %w", object.KindConfigMap, err)}
	}
	config := view.Config()
	if !IsMeshConfigMap(s.Namespace, obj.Metadata.Name, config) {
		return nil, nil
	}
	var scope meshconfig.Scope
	if config.Holds.Has(policy.MeshConfig) {
		scope = view
	}
	annotations := obj.Metadata.Annotations
	if record, lost := s.lostRecord(annotations, meshconfig.ClusterLocalHostsAnnotation); lost { // the text may still hold the entries
		annotations = over(annotations, map[string]string{meshconfig.ClusterLocalHostsAnnotation: record})
	}
	plan, err := meshconfig.PlanFor(obj.Data, annotations, config.ClusterDomain, scope)
	if err != nil {
		return nil, nil //nolint:nilerr // see above
	}
	var edits []inject.Edit
	if plan.Text != obj.Data[meshconfig.Key] {
		edits = append(edits, inject.Edit{Path: []string{"data", meshconfig.Key}, Value: plan.Text})
	}
	owned := []string{"metadata", "annotations", meshconfig.ClusterLocalHostsAnnotation}
	switch plan.Owned {
	case obj.Metadata.Annotations[meshconfig.ClusterLocalHostsAnnotation]:
	case "":
		edits = append(edits, inject.Edit{Path: owned, Prune: 1})
	default:
		edits = append(edits, inject.Edit{Path: owned, Value: plan.Owned})
	}
	return edits, nil
}
