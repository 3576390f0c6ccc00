package uninstall

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/cluster"
	"github.com/meshfence/meshfence/policy/object"
)

// observe reads everything that meshfence may have put something into, and plans.
func (u *Uninstaller) observe(ctx context.Context) (Plan, error) {
	p := NewPlanner(u.Config.ClusterDomain)
	visit := func(o runtime.Object) error {
		return p.Add(o.(client.Object)) // the lists below have no others
	}
	for _, kind := range []string{object.KindVirtualService, object.KindDestinationRule} {
		mapping, err := u.Client.RESTMapper().RESTMapping(schema.GroupKind{Group: object.GroupOf(kind), Kind: kind})
		if meta.IsNoMatchError(err) {
			continue
		}
		if err != nil {
			return Plan{}, fmt.Errorf("look for %s: %w", kind, err)
		}
		list := func() client.ObjectList { return cluster.ListOf(mapping.GroupVersionKind) }
		if err := cluster.Each(ctx, u.Client, list, client.ListOptions{}, visit); err != nil {
			return Plan{}, err
		}
	}
	for _, kind := range []string{object.KindService, object.KindNamespace} {
		if err := u.metadata(ctx, kind, visit); err != nil {
			return Plan{}, err
		}
	}
	var list corev1.ConfigMapList
	if err := u.Client.List(ctx, &list, client.InNamespace(u.Config.IstioNamespace)); err != nil {
		return Plan{}, fmt.Errorf("list ConfigMaps: %w", err)
	}
	for i := range list.Items {
		list.Items[i].SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(object.KindConfigMap))
		if err := p.Add(&list.Items[i]); err != nil {
			return Plan{}, err
		}
	}
	return p.Plan(), nil
}

// metadata visits the metadata of all objects of a core kind.
func (u *Uninstaller) metadata(ctx context.Context, kind string, visit func(runtime.Object) error) error {
	gvk := corev1.SchemeGroupVersion.WithKind(kind)
	list := func() client.ObjectList {
		l := &metav1.PartialObjectMetadataList{}
		l.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(kind + "List"))
		return l
	}
	return cluster.Each(ctx, u.Client, list, client.ListOptions{}, func(o runtime.Object) error {
		o.GetObjectKind().SetGroupVersionKind(gvk)
		return visit(o)
	})
}
