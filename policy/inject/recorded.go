package inject

import (
	"maps"
	"slices"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// Recorded plans the edits for an object whose writer left out the record that it had of what admission added, so that
// this is still taken back when the fence goes: of what the record says only that counts which is in the object as it
// was injected.
func Recorded(o *object.Object, record string, view *policy.View) Plan {
	recorded := *o
	recorded.Metadata.Annotations = maps.Clone(o.Metadata.Annotations)
	if recorded.Metadata.Annotations == nil {
		recorded.Metadata.Annotations = map[string]string{}
	}
	recorded.Metadata.Annotations[policy.InjectedAnnotation] = record
	plan := Object(&recorded, view)
	path := []string{"metadata", "annotations", policy.InjectedAnnotation}
	if !slices.ContainsFunc(plan.Edits, func(e Edit) bool { return slices.Equal(e.Path, path) }) {
		plan.add(path, record)
	}
	return plan
}
