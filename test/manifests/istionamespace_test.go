package manifests_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// With the component, meshfence has the same rights to the mesh ConfigMap, in Istio's namespace and in no other; without it,
// wherever a ConfigMap has that name.
func TestIstioNamespace(t *testing.T) {
	cluster, client := shared(t)
	apply(t, cluster, meshScene, "apply", "-f", "-")
	t.Cleanup(func() {
		if _, _, err := cluster.Kubectl(context.Background(), meshScene, "delete", "-f", "-"); err != nil {
			t.Error(err)
		}
	})
	allowed := func(namespace, verb string) bool {
		t.Helper()
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User:               "system:serviceaccount:meshfence-system:meshfence",
			ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: verb, Resource: "configmaps", Namespace: namespace, Name: "istio"},
		}}
		review, err := client.AuthorizationV1().SubjectAccessReviews().Create(t.Context(), review, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return review.Status.Allowed
	}
	for manifests, wide := range map[string]bool{render(t, "self-signed"): true, renderWith(t, "self-signed", []string{"istio-namespace"}): false} {
		apply(t, cluster, manifests, "apply", "-f", "-")
		for _, verb := range []string{"get", "list", "watch", "patch"} {
			eventually(t, "the API server knows the roles", func(context.Context) error { // its informers need a moment
				if istio, other := allowed("istio-system", verb), allowed("default", verb); !istio || other != wide {
					return fmt.Errorf("%s in istio-system: %t, in another namespace: %t, want it: %t", verb, istio, other, wide)
				}
				return nil
			})
		}
		uninstall(t, cluster, client, manifests)
	}
	before, after := granted(objects(t, render(t, "self-signed"))), granted(objects(t, renderWith(t, "self-signed", []string{"istio-namespace"})))
	slices.Sort(before)
	slices.Sort(after)
	if diff := cmp.Diff(before, after); diff != "" || !strings.Contains(strings.Join(after, "\n"), "patch /configmaps/istio") {
		t.Errorf("rights (-without the component +with):\n%s", diff)
	}
}
