package webhook_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/meshfence/meshfence/webhook"
)

// TestInvalid wants the status of a refusal to be the one that Kubernetes itself makes of the errors.
func TestInvalid(t *testing.T) {
	t.Parallel()
	host := field.Invalid(field.NewPath("spec", "host"), "a\"b", "must be c")
	labels := field.Invalid(field.NewPath("spec", "labels"), map[string]any{"a": int64(1)}, "must be d")
	missing := field.Required(field.NewPath("spec", "host"), "must be set")
	kind := metav1.GroupVersionKind{Group: "networking.istio.io", Version: "v1", Kind: "DestinationRule"}
	for name, errs := range map[string]field.ErrorList{
		"none": {}, "one": {host}, "several": {host, labels, missing}, "one twice": {host, host}, "one of several twice": {host, missing, host},
	} {
		want := apierrors.NewInvalid(schema.GroupKind{Group: kind.Group, Kind: kind.Kind}, "it", errs).Status()
		got := webhook.Invalid(admission.Request{AdmissionRequest: admissionv1.AdmissionRequest{Kind: kind, Name: "it"}}, errs)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
