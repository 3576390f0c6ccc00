package controller_test

import (
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/meshfence/meshfence/controller"
)

// A replica that yields writes nothing, and reads on.
func TestYielding(t *testing.T) {
	t.Parallel()
	object := func() *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "any"}}
	}
	yields := true
	c := controller.Yielding(fake.NewClientBuilder().Build(), func() bool { return yields })
	writes := map[string]func() error{
		"create": func() error { return c.Create(t.Context(), object()) },
		"update": func() error { return c.Update(t.Context(), object()) },
		"patch": func() error {
			return c.Patch(t.Context(), object(), client.RawPatch(types.MergePatchType, []byte(`{"data": {"a": "b"}}`)))
		},
		"delete": func() error { return c.Delete(t.Context(), object()) },
	}
	order := []string{"create", "update", "patch", "delete"}
	for _, name := range order {
		if err := writes[name](); !errors.Is(err, controller.ErrYields) {
			t.Errorf("%s while it yields: %v", name, err)
		}
	}
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(object()), object()); !apierrors.IsNotFound(err) {
		t.Errorf("get: %v, want that nothing was created", err)
	}
	yields = false
	for _, name := range order {
		if err := writes[name](); err != nil {
			t.Errorf("%s afterwards: %v", name, err)
		}
	}
}
