package doctor

import (
	"cmp"
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/meshfence/meshfence/policy"
)

// rightsOf lists the rights that a Role or a ClusterRole gives.
func rightsOf(role *unstructured.Unstructured) ([]Right, error) {
	var r rbacv1.Role // a ClusterRole has the same rules
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(role.Object, &r); err != nil {
		return nil, fmt.Errorf("%s %s: %w", role.GetKind(), role.GetName(), err)
	}
	var rights []Right
	for _, rule := range r.Rules {
		names := rule.ResourceNames
		if len(names) == 0 {
			names = []string{""}
		}
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					for _, name := range names {
						rights = append(rights, Right{Verb: verb, Group: group, Resource: resource, Namespace: role.GetNamespace(), Name: name})
					}
				}
			}
		}
	}
	return rights, nil
}

// rights asks the API server whether the ServiceAccount has each right. A SubjectAccessReview is an answer, and is not
// stored.
func (o *Observer) rights(ctx context.Context, wanted []Right, deployment *appsv1.Deployment) ([]Right, error) {
	account := policy.InstallName
	if deployment != nil {
		account = cmp.Or(deployment.Spec.Template.Spec.ServiceAccountName, "default")
	}
	var rights []Right
	for _, right := range wanted {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User:   "system:serviceaccount:" + o.Namespace + ":" + account,
			Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + o.Namespace, "system:authenticated"},
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Verb: right.Verb, Group: right.Group, Resource: right.Resource, Namespace: right.Namespace, Name: right.Name,
			},
		}}
		if err := o.Client.Create(ctx, review); err != nil {
			return nil, fmt.Errorf("ask what the ServiceAccount may: %w", err)
		}
		right.Denied = !review.Status.Allowed
		rights = append(rights, right)
	}
	return rights, nil
}
