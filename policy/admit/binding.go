package admit

import (
	"encoding/json"
	"fmt"
	"maps"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshfence/meshfence/policy/object"
)

// Name returns the name of the object.
func (s Request) Name() (string, error) {
	o, err := s.decode(s.Raw)
	if err != nil {
		return "", err
	}
	return o.Metadata.Name, nil
}

// Bound returns what a Binding makes of a Pod, as an update of that. The API server copies all labels and annotations of
// the one over to the other (BindingREST in Kubernetes' pkg/registry/core/pod/storage).
func (s Request) Bound(pod *metav1.PartialObjectMetadata) (Request, error) {
	binding, err := s.decode(s.Raw)
	if err != nil {
		return Request{}, err
	}
	s.Kind = object.KindPod
	if s.Old, err = json.Marshal(pod); err != nil {
		return Request{}, fmt.Errorf("encode Pod %s: %w", pod.Name, err)
	}
	pod = pod.DeepCopy()
	pod.Labels, pod.Annotations = over(pod.Labels, binding.Metadata.Labels), over(pod.Annotations, binding.Metadata.Annotations)
	if s.Raw, err = json.Marshal(pod); err != nil {
		return Request{}, fmt.Errorf("encode Pod %s: %w", pod.Name, err)
	}
	return s, nil
}

// over returns a set with another one put over it.
func over(set, more map[string]string) map[string]string {
	all := map[string]string{}
	maps.Copy(all, set)
	maps.Copy(all, more)
	return all
}
