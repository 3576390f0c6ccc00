package inject

import (
	"maps"
	"slices"

	"github.com/meshfence/meshfence/policy"
)

// Written plans the edits for an object that replaces another one, or none. A record that the writer left out is taken
// from the old object, so that what admission added is still taken back when the fence goes: of what the record says only
// that counts which stands in the object as it was injected.
func Written(o, old *policy.Object, view *policy.View) Plan {
	record, lost := lostRecord(o.Metadata.Annotations, old)
	if !lost {
		return Object(o, view)
	}
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

// lostRecord returns the record that an old object has and the new one has not.
func lostRecord(annotations map[string]string, old *policy.Object) (record string, lost bool) {
	if old == nil {
		return "", false
	}
	_, kept := annotations[policy.InjectedAnnotation]
	record, had := old.Metadata.Annotations[policy.InjectedAnnotation]
	return record, had && !kept
}
