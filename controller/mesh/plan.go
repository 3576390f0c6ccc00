package mesh

import (
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/object"
)

// Plan returns a stored object as policy reads it, and what admission would do to it: nothing to one that is exempt or
// about to go. The object is unstructured, or the metadata of one of which nothing else counts.
func Plan(o client.Object, view *policy.View) (*object.Object, inject.Plan, error) {
	decoded, err := decode(o)
	if err != nil {
		return nil, inject.Plan{}, err
	}
	exempt := view.Config().Namespace(o.GetNamespace(), nil).Service("", nil).Exempt
	if exempt || o.GetDeletionTimestamp() != nil {
		return decoded, inject.Plan{}, nil
	}
	return decoded, inject.Object(decoded, view), nil
}

func decode(o client.Object) (*object.Object, error) {
	kind := o.GetObjectKind().GroupVersionKind().Kind
	switch o := o.(type) {
	case *metav1.PartialObjectMetadata:
		return &object.Object{Kind: kind, Metadata: object.Metadata{
			Namespace: o.Namespace, Name: o.Name, Labels: o.Labels, Annotations: o.Annotations,
		}}, nil
	case *unstructured.Unstructured:
		raw, err := json.Marshal(o.Object)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", kind, err)
		}
		return object.Decode(kind, raw)
	}
	return nil, fmt.Errorf("decode %T: neither metadata nor unstructured", o)
}
