package install

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/krusty"
	kustomize "sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/meshfence/meshfence/manifests"
	"github.com/meshfence/meshfence/policy"
)

// The ways to get a serving certificate: folders of manifests/components.
const (
	SelfSigned  = "self-signed"
	CertManager = "cert-manager"
)

// defaultIstio and defaultMesh are the names of Istio's namespace and of the mesh ConfigMap in the manifests.
const (
	defaultIstio = "istio-system"
	defaultMesh  = "istio"
)

// Options say what to install.
type Options struct {
	// Namespace is the one to install in; that of the manifests unless set.
	Namespace string
	// Image is that of the Deployment; that of the manifests unless set.
	Image string
	// Certificates is SelfSigned or CertManager.
	Certificates string
	// Enforcement is that of the FenceConfig. Unless it is enforce every webhook fails open.
	Enforcement policy.Enforcement
	// MeshConfigMaps are the ConfigMaps that hold meshConfig writes, in the namespace of Istio.
	MeshConfigMaps []string
	IstioNamespace string
	// HasIstio reports whether that namespace exists, so that the right to write them can be for it alone.
	HasIstio bool
	// MetricsAuth reports whether metrics are for readers alone.
	MetricsAuth bool
}

// Render returns the objects of an installation in the order in which they are applied, without a FenceConfig.
func Render(o Options) ([]*unstructured.Unstructured, error) {
	if o.Certificates != SelfSigned && o.Certificates != CertManager {
		return nil, fmt.Errorf("certificates %q must be %s or %s", o.Certificates, SelfSigned, CertManager)
	}
	const here = "/manifests/install"
	files, err := o.files("/manifests")
	if err != nil {
		return nil, err
	}
	built := kustomize.Kustomization{Resources: []string{"../base"}, Components: []string{"../components/" + o.Certificates}}
	if o.Enforcement != policy.Enforce {
		built.Components = append(built.Components, "../components/fail-open")
	}
	if o.HasIstio {
		built.Components = append(built.Components, "../components/istio-namespace")
	}
	if o.MetricsAuth {
		built.Components = append(built.Components, "../components/metrics-auth")
	}
	kustomization, err := yaml.Marshal(built)
	if err != nil {
		return nil, fmt.Errorf("write a kustomization: %w", err)
	}
	if err := files.WriteFile(path.Join(here, "kustomization.yaml"), kustomization); err != nil {
		return nil, err
	}
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(files, here)
	if err != nil {
		return nil, fmt.Errorf("build the manifests: %w", err)
	}
	var objects []*unstructured.Unstructured
	for _, r := range resources.Resources() {
		data, err := r.MarshalJSON()
		if err != nil {
			return nil, err
		}
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(data); err != nil {
			return nil, err
		}
		objects = append(objects, object)
	}
	slices.SortStableFunc(objects, func(a, b *unstructured.Unstructured) int { return cmp.Compare(stage(a), stage(b)) })
	return objects, o.fill(objects)
}

// files copies the manifests into memory, with the namespace of the installation wherever they name theirs: in selectors,
// conditions, names of hosts and annotations, too.
func (o Options) files(root string) (filesys.FileSystem, error) {
	from, to := manifests.Files(), filesys.MakeFsInMemory()
	namespace := cmp.Or(o.Namespace, policy.InstallNamespace)
	err := fs.WalkDir(from, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(from, name)
		if err != nil {
			return err
		}
		return to.WriteFile(path.Join(root, name), bytes.ReplaceAll(data, []byte(policy.InstallNamespace), []byte(namespace)))
	})
	return to, err
}

// stage orders objects: the Namespace before what is in it, and the webhook configurations after what answers for them.
func stage(o *unstructured.Unstructured) int {
	switch {
	case o.GetKind() == "Namespace":
		return 0
	case IsWebhookConfiguration(o):
		return 2
	}
	return 1
}

// IsWebhookConfiguration reports whether an object has the API server call.
func IsWebhookConfiguration(o *unstructured.Unstructured) bool {
	return strings.HasSuffix(o.GetKind(), "WebhookConfiguration")
}

// fill puts in what the manifests leave open.
func (o Options) fill(objects []*unstructured.Unstructured) error {
	var errs []error
	for _, object := range objects {
		if object.GetNamespace() == defaultIstio {
			object.SetNamespace(cmp.Or(o.IstioNamespace, defaultIstio))
		}
		switch object.GetKind() {
		case "Deployment":
			errs = append(errs, o.fillImage(object))
		case "Role", "ClusterRole":
			errs = append(errs, o.fillRights(object))
		}
	}
	return errors.Join(errs...)
}

func (o Options) fillImage(deployment *unstructured.Unstructured) error {
	containers, _, err := unstructured.NestedSlice(deployment.Object, "spec", "template", "spec", "containers")
	if err != nil || o.Image == "" {
		return err
	}
	for _, c := range containers {
		if container, ok := c.(map[string]any); ok {
			container["image"] = o.Image
		}
	}
	return unstructured.SetNestedSlice(deployment.Object, containers, "spec", "template", "spec", "containers")
}

// fillRights names the mesh ConfigMaps in the rules that name the one of the manifests.
func (o Options) fillRights(role *unstructured.Unstructured) error {
	rules, _, err := unstructured.NestedSlice(role.Object, "rules")
	if err != nil || len(o.MeshConfigMaps) == 0 {
		return err
	}
	for _, r := range rules {
		rule, _ := r.(map[string]any)
		names, _, err := unstructured.NestedStringSlice(rule, "resourceNames")
		if err != nil {
			return err
		}
		if slices.Equal(names, []string{defaultMesh}) {
			if err := unstructured.SetNestedStringSlice(rule, o.MeshConfigMaps, "resourceNames"); err != nil {
				return err
			}
		}
	}
	return unstructured.SetNestedSlice(role.Object, rules, "rules")
}
