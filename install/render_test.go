package install_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/meshfence/meshfence/install"
	"github.com/meshfence/meshfence/policy"
)

// What is embedded is what is in the repository: the objects of an installation with nothing special are those of the
// overlay.
func TestRenderIsTheOverlay(t *testing.T) {
	t.Parallel()
	for _, certificates := range []string{install.SelfSigned, install.CertManager} {
		t.Run(certificates, func(t *testing.T) {
			t.Parallel()
			overlay, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).
				Run(filesys.MakeFsOnDisk(), filepath.Join("..", "manifests", "overlays", certificates))
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]any{}
			for _, r := range overlay.Resources() {
				o := &unstructured.Unstructured{}
				data, err := r.MarshalJSON()
				if err == nil {
					err = o.UnmarshalJSON(data)
				}
				if err != nil {
					t.Fatal(err)
				}
				want[key(o)] = o.Object
			}
			got := map[string]any{}
			for _, o := range render(t, install.Options{Certificates: certificates, Enforcement: policy.Enforce}) {
				got[key(o)] = o.Object
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("objects (-overlay +install):\n%s", diff)
			}
		})
	}
}

func key(o *unstructured.Unstructured) string {
	return o.GetKind() + " " + o.GetNamespace() + "/" + o.GetName()
}

func render(t *testing.T, o install.Options) []*unstructured.Unstructured {
	t.Helper()
	objects, err := install.Render(o)
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

func TestRenderOptions(t *testing.T) {
	t.Parallel()
	objects := render(t, install.Options{
		Namespace: "fences", Image: "registry.example/meshfence@sha256:0", Certificates: install.CertManager, Enforcement: policy.Audit,
		MeshConfigMaps: []string{"istio-1-31", "istio-1-32"},
	})
	var policies, images, named []string
	for _, o := range objects {
		text, err := o.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), policy.InstallNamespace) {
			t.Errorf("%s names the namespace of the manifests", key(o))
		}
		list := func(object map[string]any, path ...string) []any {
			values, _, err := unstructured.NestedSlice(object, path...)
			if err != nil {
				t.Fatal(err)
			}
			return values
		}
		for _, w := range list(o.Object, "webhooks") {
			policies = append(policies, w.(map[string]any)["failurePolicy"].(string))
		}
		for _, c := range list(o.Object, "spec", "template", "spec", "containers") {
			images = append(images, c.(map[string]any)["image"].(string))
		}
		for _, r := range list(o.Object, "rules") {
			names, _, _ := unstructured.NestedStringSlice(r.(map[string]any), "resourceNames")
			if slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, "istio") }) {
				named = append(named, names...)
			}
		}
	}
	slices.Sort(policies)
	if diff := cmp.Diff([]string{"Ignore"}, slices.Compact(policies)); diff != "" {
		t.Errorf("failurePolicy under audit (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"registry.example/meshfence@sha256:0"}, images); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"istio-1-31", "istio-1-32"}, named); diff != "" {
		t.Errorf("mesh ConfigMaps (-want +got):\n%s", diff)
	}
	if first, last := objects[0].GetKind(), objects[len(objects)-1].GetKind(); first != "Namespace" || !strings.HasSuffix(last, "WebhookConfiguration") {
		t.Errorf("the first object is a %s and the last a %s", first, last)
	}
	if _, err := install.Render(install.Options{Certificates: "none"}); err == nil {
		t.Error("certificates from nowhere are accepted")
	}
}

// Where Istio's namespace is known, the right to write its ConfigMaps is for that one alone.
func TestRenderForIstio(t *testing.T) {
	t.Parallel()
	var in []string
	for _, o := range render(t, install.Options{
		Certificates: install.SelfSigned, Enforcement: policy.Enforce, Namespace: "fences",
		MeshConfigMaps: []string{"istio-1-31"}, IstioNamespace: "mesh", HasIstio: true,
	}) {
		rules, _, err := unstructured.NestedSlice(o.Object, "rules")
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rules {
			if names, _, _ := unstructured.NestedStringSlice(r.(map[string]any), "resourceNames"); slices.Contains(names, "istio-1-31") {
				in = append(in, key(o))
			}
		}
		if subjects, _, _ := unstructured.NestedSlice(o.Object, "subjects"); o.GetNamespace() == "mesh" && len(subjects) == 1 {
			in = append(in, key(o)+" for "+subjects[0].(map[string]any)["namespace"].(string))
		}
	}
	slices.Sort(in)
	if diff := cmp.Diff([]string{"Role mesh/meshfence-mesh-config", "RoleBinding mesh/meshfence-mesh-config for fences"}, in); diff != "" {
		t.Errorf("who may write mesh ConfigMaps (-want +got):\n%s", diff)
	}
}

// What reviews tokens has the right to do so.
func TestRenderMetricsAuth(t *testing.T) {
	t.Parallel()
	for _, want := range []bool{false, true} {
		var text strings.Builder
		for _, o := range render(t, install.Options{Certificates: install.SelfSigned, Enforcement: policy.Enforce, MetricsAuth: want}) {
			data, err := o.MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			text.Write(data)
		}
		for _, sign := range []string{"--metrics-auth", "tokenreviews"} {
			if got := strings.Contains(text.String(), sign); got != want {
				t.Errorf("%s is there: %t, want it: %t", sign, got, want)
			}
		}
	}
}
