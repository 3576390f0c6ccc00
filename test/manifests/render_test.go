package manifests_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"

	"github.com/meshfence/meshfence/cluster"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/test/testbed"
)

func folder(overlay string) string {
	return filepath.Join("..", "..", "manifests", "overlays", overlay)
}

// render runs kubectl kustomize on an overlay.
func render(t *testing.T, overlay string) string {
	t.Helper()
	return kustomize(t, folder(overlay))
}

// kustomize runs kubectl kustomize on a folder.
func kustomize(t *testing.T, folder string) string {
	t.Helper()
	kubectl, err := testbed.Tool("kubectl")
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), kubectl, "kustomize", folder)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("kubectl kustomize %s: %v\n%s", folder, err, stderr.String())
	}
	if stderr.Len() > 0 {
		t.Errorf("kubectl kustomize %s warns: %s", folder, stderr.String())
	}
	return string(out)
}

// objects decodes manifests; an unknown kind, field or a duplicate key fails the test.
func objects(t *testing.T, manifests string) []runtime.Object {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, certmanager.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	var out []runtime.Object
	documents := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(manifests)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		object, _, err := decoder.Decode(document, nil, nil)
		if err != nil {
			t.Fatalf("decode: %v\n%s", err, document)
		}
		out = append(out, object)
	}
}

// one returns the only object of a type in an overlay.
func one[T runtime.Object](t *testing.T, overlay string) T {
	t.Helper()
	return only[T](t, objects(t, render(t, overlay)))
}

// only returns the only object of a type.
func only[T runtime.Object](t *testing.T, among []runtime.Object) T {
	t.Helper()
	var found []T
	for _, object := range among {
		if typed, ok := object.(T); ok {
			found = append(found, typed)
		}
	}
	if len(found) != 1 {
		t.Fatalf("found %d objects of type %T, want 1", len(found), *new(T))
	}
	return found[0]
}

func TestOverlaysAreAllTested(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadDir(folder(""))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	if diff := cmp.Diff(slices.Sorted(slices.Values(overlays())), names); diff != "" {
		t.Errorf("overlays (-tested +present):\n%s", diff)
	}
}

func TestObjects(t *testing.T) {
	t.Parallel()
	base := []string{
		"ClusterRole /meshfence",
		"ClusterRoleBinding /meshfence",
		"ConfigMap meshfence-system/meshfence-last-good", // without data: installing again leaves what is in it
		"Deployment meshfence-system/meshfence",
		"MutatingWebhookConfiguration /meshfence",
		"Namespace /meshfence-system",
		"Role meshfence-system/meshfence",
		"RoleBinding meshfence-system/meshfence",
		"Service meshfence-system/meshfence",
		"ServiceAccount meshfence-system/meshfence",
		"ValidatingWebhookConfiguration /meshfence",
	}
	budget := "PodDisruptionBudget meshfence-system/meshfence"
	for overlay, more := range map[string][]string{
		"self-signed": {budget},
		"cert-manager": {
			budget,
			"Certificate meshfence-system/meshfence", "Certificate meshfence-system/meshfence-ca",
			"Issuer meshfence-system/meshfence", "Issuer meshfence-system/meshfence-ca",
		},
		"dev": nil,
	} {
		t.Run(overlay, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, object := range objects(t, render(t, overlay)) {
				accessor, err := meta.Accessor(object)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, object.GetObjectKind().GroupVersionKind().Kind+" "+accessor.GetNamespace()+"/"+accessor.GetName())
				if accessor.GetLabels()["app.kubernetes.io/name"] != "meshfence" {
					t.Errorf("%s must have the label app.kubernetes.io/name", got[len(got)-1])
				}
			}
			want := slices.Sorted(slices.Values(slices.Concat(base, more)))
			slices.Sort(got)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("objects (-want +got):\n%s", diff)
			}
		})
	}
}

// What the FenceConfig of the example writes out are the defaults, so that it can be read as their documentation. As it
// is it is refused, and no overlay holds it: whoever installs again keeps what is in force.
func TestFenceConfig(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.Join(folder(""), "..", "example", "fenceconfig.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var object corev1.ConfigMap
	if err := yaml.UnmarshalStrict(raw, &object); err != nil {
		t.Fatal(err)
	}
	source := policy.ConfigMapSource(object.Namespace, leak.IDs(leak.Rules()))
	example := object.Data[policy.ConfigMapKey]
	if _, err := policy.ParseConfig(source, []byte(example)); err == nil || !strings.Contains(err.Error(), policy.Placeholder) {
		t.Errorf("as it is shipped it is refused with %v", err)
	}
	parse := func(config string) map[string]any {
		parsed, err := policy.ParseConfig(source, []byte(config))
		if err != nil {
			t.Fatal(err)
		}
		encoded, err := json.Marshal(parsed)
		if err != nil {
			t.Fatal(err)
		}
		var fields map[string]any
		if err := json.Unmarshal(encoded, &fields); err != nil {
			t.Fatal(err)
		}
		return fields
	}
	want := parse(`{apiVersion: config.meshfence.io/v1alpha1, kind: FenceConfig,
controlPlane: {clusters: [m1c1]}, holds: [meshConfig, subset], localities: {}}`)
	if diff := cmp.Diff(want, parse(strings.Replace(example, policy.Placeholder, "m1c1", 1))); diff != "" {
		t.Errorf("FenceConfig (-want +got):\n%s", diff)
	}
	for _, overlay := range overlays() {
		if kept := one[*corev1.ConfigMap](t, overlay); kept.Name != cluster.LastGoodName || len(kept.Data) > 0 {
			t.Errorf("overlay %s has ConfigMap %s with %v", overlay, kept.Name, kept.Data)
		}
	}
}

// In a namespace of another name all is the same but for that name, in selectors, conditions and certificates too.
func TestOwnNamespace(t *testing.T) {
	t.Parallel()
	components := []string{"pinned-webhooks", "network-policy"}
	for _, overlay := range overlays() {
		want := objects(t, strings.ReplaceAll(renderWith(t, overlay, components), policy.InstallNamespace, "platform"))
		got := objects(t, renderWith(t, overlay, components, "namespace: platform", "transformers: [$/components/own-namespace]"))
		for _, o := range got {
			// Kustomize does not know that these belong to none, and the API server takes it away again.
			switch o := o.(type) {
			case *admissionv1.ValidatingAdmissionPolicy:
				o.Namespace = ""
			case *admissionv1.ValidatingAdmissionPolicyBinding:
				o.Namespace = ""
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", overlay, diff)
		}
	}
}
