package manifests_test

import (
	"path"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// The component mounts the CA where the program looks for it, beside what else is mounted; and so does the chart.
func TestClientCA(t *testing.T) {
	t.Parallel()
	anyOrder := cmp.Options{
		cmpopts.SortSlices(func(a, b corev1.VolumeMount) bool { return a.Name < b.Name }),
		cmpopts.SortSlices(func(a, b corev1.Volume) bool { return a.Name < b.Name }),
	}
	for overlay, values := range map[string]string{"self-signed": "clientCA: true", "cert-manager": "{certificates: cert-manager, clientCA: true}"} {
		want := only[*appsv1.Deployment](t, objects(t, renderWith(t, overlay, []string{"client-ca"}))).Spec
		got := only[*appsv1.Deployment](t, template(t, "meshfence-system", values)).Spec
		if diff := cmp.Diff(want, got, anyOrder); diff != "" {
			t.Errorf("%s (-kustomize +helm):\n%s", overlay, diff)
		}
		before := one[*appsv1.Deployment](t, overlay).Spec.Template.Spec
		pod := got.Template.Spec
		mounts := pod.Containers[0].VolumeMounts
		if len(pod.Volumes) != len(before.Volumes)+1 || len(mounts) != len(before.Containers[0].VolumeMounts)+1 {
			t.Errorf("%s: %d volumes, %d mounts", overlay, len(pod.Volumes), len(mounts))
		}
		mount := mounts[slices.IndexFunc(mounts, func(m corev1.VolumeMount) bool { return m.Name == "client-ca" })]
		if argument := "--client-ca-file=" + path.Join(mount.MountPath, "ca.crt"); !slices.Contains(pod.Containers[0].Args, argument) {
			t.Errorf("%s: no %s in %v", overlay, argument, pod.Containers[0].Args)
		}
	}
}
