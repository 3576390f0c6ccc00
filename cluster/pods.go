package cluster

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/policy"
)

// HasPod reports whether there is a Pod that a question is about. By its address a Pod of some seconds ago will do: asked for
// the very latest, the API server would go through all Pods in its store.
func HasPod(ctx context.Context, reader client.Reader, q policy.PodQuestion) (bool, error) {
	selector, err := labels.Parse(q.Selector)
	if err != nil {
		return false, fmt.Errorf("select Pods by %q: %w", q.Selector, err)
	}
	pods := &metav1.PartialObjectMetadataList{}
	pods.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("PodList"))
	options := &client.ListOptions{Namespace: q.Namespace, LabelSelector: selector, Limit: 1}
	if q.Address != "" {
		options.FieldSelector = fields.OneTermEqualSelector("status.podIP", q.Address)
		options.Raw = &metav1.ListOptions{ResourceVersion: "0"}
	}
	if err := reader.List(ctx, pods, options); err != nil {
		return false, fmt.Errorf("list Pods of %q: %w", q.Namespace, err)
	}
	return len(pods.Items) > 0, nil
}

// PodsOf lists the Pods of a Deployment.
func PodsOf(ctx context.Context, reader client.Reader, d *appsv1.Deployment) ([]corev1.Pod, error) {
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil {
		return nil, fmt.Errorf("selector of Deployment %s/%s: %w", d.Namespace, d.Name, err)
	}
	var list corev1.PodList
	if err := reader.List(ctx, &list, client.InNamespace(d.Namespace), client.MatchingLabelsSelector{Selector: selector}); err != nil {
		return nil, fmt.Errorf("list the Pods of Deployment %s/%s: %w", d.Namespace, d.Name, err)
	}
	return list.Items, nil
}
