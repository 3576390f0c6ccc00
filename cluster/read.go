package cluster

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/pager"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/admit"
	"github.com/meshfence/meshfence/policy/meshconfig"
	"github.com/meshfence/meshfence/policy/object"
)

// ReadScope fills an index with the Namespaces and Services of a cluster once, as a State does all the time.
func ReadScope(ctx context.Context, reader client.Reader, index *policy.Index) error {
	err := Each(ctx, reader, func() client.ObjectList { return &corev1.NamespaceList{} }, client.ListOptions{}, func(o runtime.Object) error {
		if n, ok := o.(*corev1.Namespace); ok {
			index.SetNamespace(n.Name, n.Labels)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return Each(ctx, reader, func() client.ObjectList { return &corev1.ServiceList{} }, client.ListOptions{}, func(o runtime.Object) error {
		kept, err := strip(o)
		if s, ok := kept.(*service); ok {
			s.enter(index)
		}
		return err
	})
}

// ReadMeshConfig completes the config of an index, which must hold the scope, with what the mesh ConfigMaps say right
// now. Unlike a State it gives them no time to follow the scope.
func ReadMeshConfig(ctx context.Context, reader client.Reader, index *policy.Index) error {
	config, view := index.Config(), index.View()
	var faults []*policy.HoldFault
	var readings []*policy.IngressReading
	for _, key := range namedMeshMaps(config) {
		var object corev1.ConfigMap
		err := reader.Get(ctx, key, &object)
		if apierrors.IsForbidden(err) && !config.Holds.Has(policy.MeshConfig) {
			readings = append(readings, nil) // no hold needs it
			continue
		}
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("get mesh ConfigMap %s: %w", key, err)
		}
		read := meshconfig.MissingConfigMap(key.String())
		if err == nil {
			read = meshconfig.ReadConfigMap(key.String(), config.ClusterDomain, object.Data, object.Annotations)
		}
		readings = append(readings, read.Ingress())
		if config.Holds.Has(policy.MeshConfig) {
			fault, _ := read.Fault(view)
			faults = append(faults, fault)
		}
	}
	index.SetConfig(config.WithMeshConfigFault(meshconfig.JoinFaults(faults)).WithIngressReading(meshconfig.JoinIngress(readings)))
	return nil
}

// ReadObjects fills an index with the objects of the stored kinds that the cluster has.
func ReadObjects(ctx context.Context, reader client.Reader, mapper meta.RESTMapper, index *policy.Index) error {
	for _, r := range admit.Kinds() {
		if !r.Stored {
			continue
		}
		mapping, err := mapper.RESTMapping(schema.GroupKind{Group: r.Group, Kind: object.APIKind(r.Kind)}, r.Versions...)
		if meta.IsNoMatchError(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("look for %s: %w", r.Kind, err)
		}
		list := func() client.ObjectList { return ListOf(mapping.GroupVersionKind) }
		err = Each(ctx, reader, list, client.ListOptions{LabelSelector: r.Selector()}, func(o runtime.Object) error {
			full, ok := o.(*unstructured.Unstructured)
			if !ok {
				return fmt.Errorf("an item is %T", o)
			}
			kept, err := Keep(full, r.Kind)
			if err == nil {
				index.SetObject(kept)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// ListOf returns an empty list of objects of a kind.
func ListOf(gvk schema.GroupVersionKind) *unstructured.UnstructuredList {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
	return list
}

// Each reads a list page by page and visits its items, those of a Namespace or a selector where the options have one.
func Each(ctx context.Context, reader client.Reader, list func() client.ObjectList, of client.ListOptions, visit func(runtime.Object) error) error {
	pages := pager.New(func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		l := list()
		of.Limit, of.Continue = o.Limit, o.Continue
		return l, reader.List(ctx, l, &of)
	})
	if err := pages.EachListItem(ctx, metav1.ListOptions{}, visit); err != nil {
		return fmt.Errorf("list %T: %w", list(), err)
	}
	return nil
}
