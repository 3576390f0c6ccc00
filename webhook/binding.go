package webhook

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/cluster"
	"github.com/meshfence/meshfence/policy/admit"
	"github.com/meshfence/meshfence/policy/object"
)

// bound returns what a Binding makes of its Pod, as an update of that; exists is false where there is no such Pod.
func (a *Admission) bound(ctx context.Context, s admit.Request, name string) (_ admit.Request, exists bool, err error) {
	if name == "" { // as for every creation of a Binding that is not a Pod's subresource
		if name, err = s.Name(); err != nil {
			return admit.Request{}, false, err
		}
	}
	key := client.ObjectKey{Namespace: s.Namespace, Name: name}
	pod := cluster.MetadataOf(object.KindPod)
	if err := a.Reader.Get(ctx, key, pod); apierrors.IsNotFound(err) {
		return admit.Request{}, false, nil
	} else if err != nil {
		return admit.Request{}, false, fmt.Errorf("get Pod %s: %w", key, err)
	}
	bound, err := s.Bound(pod)
	return bound, err == nil, err
}
