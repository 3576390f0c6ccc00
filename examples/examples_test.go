// Package examples_test reads every example as those who copy it do.
package examples_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/leak"
)

// holds is what each example shows.
func holds() map[string]policy.Holds {
	return map[string]policy.Holds{
		"multi-primary":    policy.HoldsOf(policy.MeshConfig, policy.Subset),
		"primary-remote":   policy.HoldsOf(policy.MeshConfig, policy.Locality),
		"one-zone":         policy.HoldsOf(policy.Locality),
		"several-networks": policy.HoldsOf(policy.MeshConfig),
	}
}

func TestEveryExampleIsListed(t *testing.T) {
	t.Parallel()
	folders, err := filepath.Glob("*/kustomization.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range folders {
		if _, ok := holds()[filepath.Dir(file)]; !ok {
			t.Errorf("no test reads %s", filepath.Dir(file))
		}
	}
}

// TestFenceConfigs: the one ConfigMap of an example is what meshfence reads, and a good FenceConfig.
func TestFenceConfigs(t *testing.T) {
	t.Parallel()
	for folder, want := range holds() {
		t.Run(folder, func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(filepath.Join(folder, "fenceconfig.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			var object corev1.ConfigMap
			if err := yaml.UnmarshalStrict(data, &object); err != nil {
				t.Fatal(err)
			}
			if object.Name != policy.ConfigMapName || object.Namespace != policy.InstallNamespace || len(object.Data) != 1 {
				t.Errorf("must be the ConfigMap %s/%s with one key, is %s/%s", policy.InstallNamespace, policy.ConfigMapName, object.Namespace, object.Name)
			}
			source := policy.Source{File: folder, Rules: leak.IDs(leak.Rules())}
			config, err := policy.ParseConfig(source, []byte(object.Data[policy.ConfigMapKey]))
			if err != nil {
				t.Fatal(err)
			}
			if config.Holds != want {
				t.Errorf("holds are %s, want %s", config.Holds, want)
			}
		})
	}
}

// TestOverlays: kustomize builds meshfence with the image of the example, and no FenceConfig, which installing again would
// set back.
func TestOverlays(t *testing.T) {
	t.Parallel()
	for folder := range holds() {
		t.Run(folder, func(t *testing.T) {
			t.Parallel()
			built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
			if err != nil {
				t.Fatal(err)
			}
			var images []string
			configurations := 0
			for _, r := range built.Resources() {
				switch r.GetKind() {
				case "Deployment":
					images = append(images, imageOf(t, r.MustYaml()))
				case "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration":
					configurations++
				case "ConfigMap":
					if r.GetName() == policy.ConfigMapName {
						t.Error("the overlay must leave the FenceConfig alone")
					}
				}
			}
			if diff := cmp.Diff([]string{"registry.example.com/meshfence:v1"}, images); diff != "" {
				t.Errorf("images (-want +got):\n%s", diff)
			}
			if configurations != 2 {
				t.Errorf("builds %d webhook configurations, want 2", configurations)
			}
		})
	}
}

// imageOf returns the image of the one container of a Deployment.
func imageOf(t *testing.T, manifest string) string {
	t.Helper()
	var deployment struct {
		Spec struct {
			Template struct{ Spec corev1.PodSpec }
		}
	}
	if err := yaml.Unmarshal([]byte(manifest), &deployment); err != nil {
		t.Fatal(err)
	}
	containers := deployment.Spec.Template.Spec.Containers
	if len(containers) != 1 {
		t.Fatalf("has %d containers, want 1", len(containers))
	}
	return containers[0].Image
}
