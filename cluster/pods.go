package cluster

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/policy"
)

// HasPod reports whether there is a Pod that a question is about.
func HasPod(ctx context.Context, reader client.Reader, q policy.PodQuestion) (bool, error) {
	selector, err := labels.Parse(q.Selector)
	if err != nil {
		return false, fmt.Errorf("select Pods by %q: %w", q.Selector, err)
	}
	pods := &metav1.PartialObjectMetadataList{}
	pods.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("PodList"))
	if err := reader.List(ctx, pods, &client.ListOptions{Namespace: q.Namespace, LabelSelector: selector, Limit: 1}); err != nil {
		return false, fmt.Errorf("list Pods of %s: %w", q.Namespace, err)
	}
	return len(pods.Items) > 0, nil
}
