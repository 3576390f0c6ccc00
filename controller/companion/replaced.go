package companion

import (
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/meshfence/meshfence/policy/admit"
	"github.com/meshfence/meshfence/policy/inject"
)

// ReplacedAnnotation keeps, in JSON, the spec of an object that had taken the name of a companion.
const ReplacedAnnotation = "meshfence.io/replaced"

// maxReplaced bounds what it keeps: the API server takes 256 KiB of annotations.
const maxReplaced = 128 << 10

// record keeps what an object holds before it is made a companion.
func record(u *unstructured.Unstructured) {
	annotations := u.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	delete(annotations, ReplacedAnnotation)
	if spec, err := json.Marshal(u.Object["spec"]); err == nil && len(spec) <= maxReplaced {
		annotations[ReplacedAnnotation] = string(spec)
	}
	u.SetAnnotations(annotations)
}

// Restored returns the edits that make a companion what it was before it was made one; nil where it never was another
// object, or where what it held was not kept.
func Restored(u *unstructured.Unstructured) []inject.Edit {
	var spec map[string]any
	held, replaced := u.GetAnnotations()[ReplacedAnnotation]
	if !replaced || json.Unmarshal([]byte(held), &spec) != nil {
		return nil
	}
	edits := []inject.Edit{
		{Path: []string{"spec"}, Value: spec},
		{Path: []string{"metadata", "labels", inject.ManagedByLabel}, Prune: 1},
		{Path: []string{"metadata", "ownerReferences"}},
	}
	for _, key := range append(inject.OwnAnnotations(), ReplacedAnnotation) {
		edits = append(edits, inject.Edit{Path: []string{"metadata", "annotations", key}, Prune: 1})
	}
	return edits
}

// before returns a companion as it was before it was made one; nil where Restored is.
func before(u *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	edits := Restored(u)
	if edits == nil {
		return nil, nil
	}
	data, err := u.MarshalJSON()
	if err == nil {
		data, err = admit.Apply(data, edits)
	}
	var restored unstructured.Unstructured
	if err == nil {
		err = restored.UnmarshalJSON(data)
	}
	if err != nil {
		return nil, fmt.Errorf("restore %s: %w", u.GetKind(), err)
	}
	return &restored, nil
}
