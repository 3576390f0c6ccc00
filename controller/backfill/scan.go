package backfill

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/meshfence/meshfence/controller/change"
	"github.com/meshfence/meshfence/controller/mesh"
	"github.com/meshfence/meshfence/policy/object"
)

// pageSize is how many objects are read at once, which take some 20 kB each, and few how many are read one by one
// instead.
const (
	pageSize = 200
	few      = 50
)

// scan reads the objects that a set of Services may touch past any cache, and returns those that are not in line.
func (b *Backfill) scan(ctx context.Context, s change.Set) (jobs, error) {
	var found jobs
	visit := func(o client.Object) error {
		switch j, err := inspect(o, b.Mesh.Index); {
		case err != nil:
			t := mesh.TargetOf(o) // one that nobody can read must not stop the others
			logf.FromContext(ctx).Error(err, "object cannot be read", "kind", t.Kind, "namespace", t.Namespace, "name", t.Name)
		case j != nil:
			found[j.step] = append(found[j.step], j)
		case b.progress.drop(mesh.TargetOf(o)):
			b.publish()
		}
		return nil
	}
	for _, gvk := range []schema.GroupVersionKind{b.Mesh.Rule, b.Mesh.Route} {
		if err := b.scanMesh(ctx, gvk, s, visit); err != nil {
			return jobs{}, err
		}
	}
	return found, b.scanServices(ctx, s, visit)
}

// scanMesh visits the objects of one of Istio's kinds that name a host of the set, companions apart.
func (b *Backfill) scanMesh(ctx context.Context, gvk schema.GroupVersionKind, s change.Set, visit func(client.Object) error) error {
	if s.All {
		return b.pages(ctx, mesh.ListOf(gvk), func(o client.Object) error {
			if u, ok := o.(*unstructured.Unstructured); ok && mesh.IsCompanion(u) {
				return nil
			}
			return visit(o)
		})
	}
	cached, err := b.Mesh.List(ctx, gvk, "")
	if err != nil {
		return err
	}
	domain := b.Mesh.Index.Config().ClusterDomain
	chosen := map[client.ObjectKey]bool{}
	for i := range cached {
		u := &cached[i]
		if !mesh.IsCompanion(u) && slices.ContainsFunc(b.Mesh.Named(u), func(host string) bool { return s.Touches(host, domain) }) {
			chosen[client.ObjectKeyFromObject(u)] = true
		}
	}
	if len(chosen) > few {
		return b.pages(ctx, mesh.ListOf(gvk), func(o client.Object) error {
			if !chosen[client.ObjectKeyFromObject(o)] {
				return nil
			}
			return visit(o)
		})
	}
	for key := range chosen {
		if err := b.one(ctx, key, mesh.ObjectOf(gvk), visit); err != nil {
			return err
		}
	}
	return nil
}

// scanServices visits the Services of the set.
func (b *Backfill) scanServices(ctx context.Context, s change.Set, visit func(client.Object) error) error {
	gvk := corev1.SchemeGroupVersion.WithKind(object.KindService)
	list := func(options ...client.ListOption) error {
		l := &metav1.PartialObjectMetadataList{}
		l.SetGroupVersionKind(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
		return b.pages(ctx, l, func(o client.Object) error {
			o.GetObjectKind().SetGroupVersionKind(gvk)
			return visit(o)
		}, options...)
	}
	if s.All {
		return list()
	}
	for namespace := range s.Namespaces {
		if err := list(client.InNamespace(namespace)); err != nil {
			return err
		}
	}
	for host := range s.Services {
		if s.Namespaces[host.Namespace] {
			continue
		}
		o := &metav1.PartialObjectMetadata{}
		o.SetGroupVersionKind(gvk)
		if err := b.one(ctx, client.ObjectKey{Namespace: host.Namespace, Name: host.Name}, o, visit); err != nil {
			return err
		}
	}
	return nil
}

// one reads an object into o and visits it, unless it is gone.
func (b *Backfill) one(ctx context.Context, key client.ObjectKey, o client.Object, visit func(client.Object) error) error {
	err := b.Live.Get(ctx, key, o)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("get %s: %w", o.GetObjectKind().GroupVersionKind().Kind, err)
	}
	return visit(o)
}

// pages reads a list page by page and visits every object of it.
func (b *Backfill) pages(ctx context.Context, list client.ObjectList, visit func(client.Object) error, options ...client.ListOption) error {
	for {
		page := append(slices.Clone(options), client.Limit(pageSize), client.Continue(list.GetContinue()))
		if err := b.Live.List(ctx, list, page...); err != nil {
			return fmt.Errorf("list %s: %w", list.GetObjectKind().GroupVersionKind().Kind, err)
		}
		var err error
		switch list := list.(type) {
		case *unstructured.UnstructuredList:
			err = each(list.Items, visit, func(u *unstructured.Unstructured) client.Object { return u })
		case *metav1.PartialObjectMetadataList:
			err = each(list.Items, visit, func(m *metav1.PartialObjectMetadata) client.Object { return m })
		}
		if err != nil || list.GetContinue() == "" {
			return err
		}
	}
}

// each visits list items.
func each[T any](items []T, visit func(client.Object) error, object func(*T) client.Object) error {
	for i := range items {
		if err := visit(object(&items[i])); err != nil {
			return err
		}
	}
	return nil
}
