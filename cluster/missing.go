package cluster

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
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

const (
	// maxLoads bounds what one request may ask of the API server.
	maxLoads = 128
	// maxReads bounds how much of that it asks at once.
	maxReads = 8
)

// Complete repeats pass, which asks a view, until the view is missing nothing. The reader must be past any cache.
func Complete(ctx context.Context, reader client.Reader, view *policy.View, pass func() error) error {
	view.MissAtMost(maxLoads)
	l := loader{reader: reader, view: view, left: maxLoads}
	for {
		if err := pass(); err != nil || !view.Lacks() {
			return err
		}
		if err := l.load(ctx); err != nil {
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

// answer is told to the view once every read is over: the view is not for several goroutines.
type answer func()

// load fetches everything that the view is missing.
func (l *loader) load(ctx context.Context) error {
	reads, err := l.reads()
	if err != nil {
		return err
	}
	answers := make([]answer, len(reads))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxReads)
	for i, read := range reads {
		group.Go(func() (err error) {
			// A panic would end the process here; the handler of the request recovers from it.
			defer func() {
				if p := recover(); p != nil {
					answers[i] = func() { panic(p) }
				}
			}()
			answers[i], err = read(ctx)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, tell := range answers {
		tell()
	}
	return nil
}

// reads returns a read for each thing that the view is missing.
func (l *loader) reads() ([]func(context.Context) (answer, error), error) {
	namespaces, services := l.view.Missing()
	pods, objects := l.view.MissingPods(), l.view.MissingObjects()
	if l.left -= len(namespaces) + len(services) + len(objects); l.left < 0 {
		return nil, fmt.Errorf("the object names more than %d objects that are not known yet", maxLoads)
	}
	var reads []func(context.Context) (answer, error)
	for _, name := range namespaces {
		reads = append(reads, func(ctx context.Context) (answer, error) {
			found, err := l.get(ctx, object.KindNamespace, client.ObjectKey{Name: name})
			return func() { l.view.LoadNamespace(name, found.Labels) }, err
		})
	}
	for _, host := range services {
		reads = append(reads, func(ctx context.Context) (answer, error) {
			found, err := l.get(ctx, object.KindService, client.ObjectKey{Namespace: host.Namespace, Name: host.Name})
			if err == nil && found.Name == "" {
				return func() { l.view.LoadAbsent(host) }, nil
			}
			return func() { l.view.LoadService(host, found.Annotations) }, err
		})
	}
	for _, question := range pods {
		reads = append(reads, func(ctx context.Context) (answer, error) {
			exists, err := HasPod(ctx, l.reader, question)
			return func() { l.view.LoadPods(question, exists) }, err
		})
	}
	for _, key := range objects {
		reads = append(reads, func(ctx context.Context) (answer, error) {
			found, err := l.object(ctx, key)
			return func() { l.view.LoadObject(key, found) }, err
		})
	}
	return reads, nil
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
