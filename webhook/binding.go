package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/policy/object"
)

// bound returns what a Binding makes of its Pod, as an update of that; exists is false where there is no such Pod. The
// API server copies all labels and annotations of the one over to the other (BindingREST in Kubernetes'
// pkg/registry/core/pod/storage).
func (a *Admission) bound(ctx context.Context, s Subject, name string) (_ Subject, exists bool, err error) {
	binding, err := s.decode(s.Raw)
	if err != nil {
		return Subject{}, false, err
	}
	if name == "" { // as for every creation of a Binding that is not a Pod's subresource
		name = binding.Metadata.Name
	}
	key := client.ObjectKey{Namespace: s.Namespace, Name: name}
	pod := metadataOf(object.KindPod)
	if err := a.Reader.Get(ctx, key, pod); apierrors.IsNotFound(err) {
		return Subject{}, false, nil
	} else if err != nil {
		return Subject{}, false, fmt.Errorf("get Pod %s: %w", key, err)
	}
	s.Kind = object.KindPod
	if s.Old, err = json.Marshal(pod); err != nil {
		return Subject{}, false, fmt.Errorf("encode Pod %s: %w", key, err)
	}
	pod.Labels, pod.Annotations = over(pod.Labels, binding.Metadata.Labels), over(pod.Annotations, binding.Metadata.Annotations)
	if s.Raw, err = json.Marshal(pod); err != nil {
		return Subject{}, false, fmt.Errorf("encode Pod %s: %w", key, err)
	}
	return s, true, nil
}

// over returns a set with another one put over it.
func over(set, more map[string]string) map[string]string {
	all := maps.Clone(more)
	if all == nil {
		all = map[string]string{}
	}
	for key, value := range set {
		if _, replaced := more[key]; !replaced {
			all[key] = value
		}
	}
	return all
}
