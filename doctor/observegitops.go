package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/cluster"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// The signs by which an object is known to be Argo CD's: whose it is, and who wrote it (its common/common.go).
const (
	argoTracking = "argocd.argoproj.io/tracking-id"
	argoManager  = "argocd-controller"
)

// gitOps finds what Argo CD shows as OutOfSync for what admission has added. It leaves a key alone that Git does not have, also
// inside the items of a list, and compares the rest (docs/gitops.md). Flux compares what is stored with a dry run, in which
// admission adds the same.
func (o *Observer) gitOps(ctx context.Context) (GitOps, error) {
	var seen GitOps
	synced, err := o.synced(ctx)
	if err != nil {
		return seen, err
	}
	seen.Judged = synced != nil
	for _, kind := range []string{object.KindDestinationRule, object.KindVirtualService} {
		gvk := schema.GroupVersionKind{Group: "networking.istio.io", Version: "v1", Kind: kind}
		list := func() client.ObjectList { return cluster.ListOf(gvk) }
		err := cluster.Each(ctx, o.Client, list, client.ListOptions{}, func(item runtime.Object) error {
			stored, _ := item.(*unstructured.Unstructured)
			if field := drift(stored); field != "" && !synced[kind+" "+stored.GetNamespace()+"/"+stored.GetName()] {
				seen.Drifted = append(seen.Drifted, fmt.Sprintf("%s %s/%s (%s)", kind, stored.GetNamespace(), stored.GetName(), field))
			}
			return nil
		})
		if err != nil && !meta.IsNoMatchError(err) {
			return seen, err
		}
	}
	return seen, nil
}

// synced returns what Argo CD itself says is Synced, by kind and name; nil where it is in another cluster, or may not be asked.
func (o *Observer) synced(ctx context.Context) (map[string]bool, error) {
	var found map[string]bool
	gvk := schema.GroupVersionKind{Group: "argoproj.io", Version: "v1alpha1", Kind: "Application"}
	err := cluster.Each(ctx, o.Client, func() client.ObjectList { return cluster.ListOf(gvk) }, client.ListOptions{}, func(item runtime.Object) error {
		var application struct {
			Status struct {
				Resources []struct {
					Kind      string `json:"kind"`
					Namespace string `json:"namespace"`
					Name      string `json:"name"`
					Status    string `json:"status"`
				} `json:"resources"`
			} `json:"status"`
		}
		content, _ := item.(*unstructured.Unstructured)
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(content.Object, &application); err != nil {
			return fmt.Errorf("read Application %s: %w", content.GetName(), err)
		}
		if found == nil {
			found = map[string]bool{}
		}
		for _, r := range application.Status.Resources {
			found[r.Kind+" "+r.Namespace+"/"+r.Name] = r.Status == "Synced"
		}
		return nil
	})
	if meta.IsNoMatchError(err) || apierrors.IsForbidden(err) {
		return nil, nil
	}
	return found, err
}

// drift returns the field of an object that admission has touched in which Argo CD sees another value than in Git; empty where
// it sees none.
func drift(stored *unstructured.Unstructured) string {
	annotations := stored.GetAnnotations()
	argos := annotations[argoTracking] != ""
	for _, m := range stored.GetManagedFields() {
		argos = argos || m.Manager == argoManager
	}
	if !argos || annotations[policy.InjectedAnnotation] == "" {
		return ""
	}
	var git map[string]any
	// What is applied on the server leaves no such annotation: what Git says is not known here.
	if err := json.Unmarshal([]byte(annotations[corev1.LastAppliedConfigAnnotation]), &git); err != nil {
		return ""
	}
	return differs("spec", git["spec"], encoded(stored.Object["spec"]))
}

// encoded returns a value as decoding JSON makes it, with every number a float.
func encoded(value any) any {
	var out any
	if data, err := json.Marshal(value); err == nil {
		_ = json.Unmarshal(data, &out) // it is JSON
	}
	return out
}

// differs returns the first field in which two values differ, but for keys that the first one does not have.
func differs(path string, git, stored any) string {
	switch git := git.(type) {
	case map[string]any:
		stored, ok := stored.(map[string]any)
		if !ok {
			return path
		}
		for _, key := range slices.Sorted(maps.Keys(git)) {
			if field := differs(path+"."+key, git[key], stored[key]); field != "" {
				return field
			}
		}
	case []any:
		stored, ok := stored.([]any)
		if !ok || len(git) != len(stored) {
			return path
		}
		for i := range git {
			if field := differs(fmt.Sprintf("%s[%d]", path, i), git[i], stored[i]); field != "" {
				return field
			}
		}
	default:
		if !reflect.DeepEqual(git, stored) {
			return path
		}
	}
	return ""
}
