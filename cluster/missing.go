package cluster

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// maxLoads bounds what one request may ask of the API server.
const maxLoads = 128

// Complete repeats pass, which asks a view, until the view is missing nothing. The reader must be past any cache.
func Complete(ctx context.Context, reader client.Reader, view *policy.View, pass func() error) error {
	l := newLoader(reader, view)
	for {
		if err := pass(); err != nil {
			return err
		}
		if more, err := l.load(ctx); err != nil || !more {
			return err
		}
	}
}

// loader fetches what a view is missing: objects that the informers have not seen yet, and whether there are Pods.
type loader struct {
	reader client.Reader // uncached
	view   *policy.View
	left   int
}

func newLoader(reader client.Reader, view *policy.View) *loader {
	view.MissAtMost(maxLoads)
	return &loader{reader: reader, view: view, left: maxLoads}
}

// load fetches everything that the view is missing, and reports whether there was anything.
func (l *loader) load(ctx context.Context) (bool, error) {
	namespaces, services := l.view.Missing()
	pods, objects := l.view.MissingPods(), l.view.MissingObjects()
	if l.left -= len(namespaces) + len(services) + len(objects); l.left < 0 {
		return false, fmt.Errorf("the object names more than %d objects that are not known yet", maxLoads)
	}
	for _, name := range namespaces {
		object, err := l.get(ctx, "Namespace", client.ObjectKey{Name: name})
		if err != nil {
			return false, err
		}
		l.view.LoadNamespace(name, object.Labels)
	}
	for _, host := range services {
		object, err := l.get(ctx, "Service", client.ObjectKey{Namespace: host.Namespace, Name: host.Name})
		if err != nil {
			return false, err
		}
		if object.Name == "" {
			l.view.LoadAbsent(host)
			continue
		}
		l.view.LoadService(host, object.Annotations)
	}
	for _, question := range pods {
		exists, err := HasPod(ctx, l.reader, question)
		if err != nil {
			return false, err
		}
		l.view.LoadPods(question, exists)
	}
	for _, key := range objects {
		object, err := l.object(ctx, key)
		if err != nil {
			return false, err
		}
		l.view.LoadObject(key, object)
	}
	return len(namespaces)+len(services)+len(pods)+len(objects) > 0, nil
}

// object fetches an object of a stored kind; nil where there is none, or no such kind.
func (l *loader) object(ctx context.Context, key object.Key) (*object.Object, error) {
	kind, _ := object.TypeOf(key.Kind)
	full := &unstructured.Unstructured{}
	full.SetGroupVersionKind(schema.GroupVersionKind{Group: kind.Group, Version: kind.Versions[0], Kind: object.APIKind(key.Kind)})
	err := l.reader.Get(ctx, client.ObjectKey{Namespace: key.Namespace, Name: key.Name}, full)
	switch {
	case apierrors.IsNotFound(err), meta.IsNoMatchError(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("get %s %s/%s: %w", object.APIKind(key.Kind), key.Namespace, key.Name, err)
	}
	return Keep(full, key.Kind)
}

// get fetches the metadata of an object; they are empty where there is none.
func (l *loader) get(ctx context.Context, kind string, key client.ObjectKey) (*metav1.PartialObjectMetadata, error) {
	object := MetadataOf(kind)
	err := l.reader.Get(ctx, key, object)
	if apierrors.IsNotFound(err) {
		return MetadataOf(kind), nil
	}
	if err != nil {
		return nil, fmt.Errorf("get %s %s: %w", kind, key, err)
	}
	return object, nil
}

// MetadataOf returns an empty core/v1 object of that kind.
func MetadataOf(kind string) *metav1.PartialObjectMetadata {
	object := &metav1.PartialObjectMetadata{}
	object.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(kind))
	return object
}
