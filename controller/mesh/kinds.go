package mesh

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/meshfence/meshfence/policy/object"
)

// kindsRetry is how often a cluster without Istio is asked for its kinds.
const kindsRetry = 5 * time.Second

// Kinds are Istio's kinds in the version that the API server prefers.
type Kinds struct{ Rule, Route schema.GroupVersionKind }

// FindKinds waits until the API server serves Istio's kinds, and the index has their objects.
func FindKinds(ctx context.Context, mapper meta.RESTMapper, indexed func(kinds ...string) bool) (Kinds, error) {
	var k Kinds
	logged := false
	err := wait.PollUntilContextCancel(ctx, kindsRetry, true, func(context.Context) (bool, error) {
		for _, kind := range []struct {
			name string
			gvk  *schema.GroupVersionKind
		}{{object.KindDestinationRule, &k.Rule}, {object.KindVirtualService, &k.Route}} {
			mapping, err := mapper.RESTMapping(schema.GroupKind{Group: object.GroupOf(kind.name), Kind: kind.name})
			if err != nil {
				if !logged {
					logf.FromContext(ctx).Info("waiting for Istio's kinds", "kind", kind.name, "reason", err.Error())
				}
				logged = true
				return false, nil
			}
			*kind.gvk = mapping.GroupVersionKind
		}
		return indexed(object.KindDestinationRule, object.KindVirtualService), nil
	})
	return k, err
}

// ObjectOf returns an empty object of a kind.
func ObjectOf(gvk schema.GroupVersionKind) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(gvk)
	return u
}
