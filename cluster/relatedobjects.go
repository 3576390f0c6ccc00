package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/admit"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/object"
)

// kindsRetry is how often the API server is asked for the kinds that it did not have.
const kindsRetry = 15 * time.Second

// stored is what a cache holds of an object of a stored kind.
type stored struct {
	identity

	view *object.Object
}

// GetObjectMeta returns the metadata that caches read. That all has been sent is an annotation of a bookmark.
func (s *stored) GetObjectMeta() metav1.Object {
	m := s.identity.meta()
	m.Annotations = s.view.Metadata.Annotations
	return m
}

// GetObjectKind returns nothing: a cache is of one kind.
func (s *stored) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject returns the object itself, which nobody writes to.
func (s *stored) DeepCopyObject() runtime.Object { return s }

// identity is what a cache needs to tell objects and their versions apart.
type identity struct {
	namespace, name, resourceVersion string
	uid                              types.UID
}

func identityOf(o metav1.Object) identity {
	return identity{o.GetNamespace(), o.GetName(), o.GetResourceVersion(), o.GetUID()}
}

// GetObjectMeta returns the metadata that caches read.
func (i identity) GetObjectMeta() metav1.Object { return i.meta() }

func (i identity) meta() *metav1.ObjectMeta {
	return &metav1.ObjectMeta{Namespace: i.namespace, Name: i.name, UID: i.uid, ResourceVersion: i.resourceVersion}
}

// Keep returns what the index keeps of an object of a stored kind: what rules read, and of a companion all. That is not
// what kubectl has applied, which is as much again. The managed fields are taken out of the object, too.
func Keep(full *unstructured.Unstructured, kind string) (*object.Object, error) {
	unstructured.RemoveNestedField(full.Object, "metadata", "managedFields")
	unstructured.RemoveNestedField(full.Object, "metadata", "annotations", corev1.LastAppliedConfigAnnotation)
	raw, err := json.Marshal(full.Object, jsontext.AllowInvalidUTF8(true)) // three times as fast as encoding/json
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", kind, err)
	}
	kept, err := object.Decode(kind, raw)
	if err != nil {
		kept = unreadable(kind, full.GetNamespace(), full.GetName())
	}
	if inject.IsCompanion(full.GetName(), full.GetLabels()) {
		kept.Whole = raw
	}
	return kept, nil
}

// unreadable returns what is kept of an object that cannot be read, which the API server's schema rules out. A name without
// content is related to nothing.
func unreadable(kind, namespace, name string) *object.Object {
	return &object.Object{Kind: kind, Metadata: object.Metadata{Namespace: namespace, Name: name}}
}

// objects feeds the index with the kinds that rules relate to others. A kind that the API server does not have is
// looked for again, and picked up when it appears.
type objects struct {
	informers cache.Informers
	mapper    meta.RESTMapper
	index     *policy.Index
	log       logr.Logger
	missing   []admit.Kind

	mu sync.Mutex
	// watched are the kinds that are not missing.
	watched map[string]toolscache.ResourceEventHandlerRegistration
}

func newObjects(informers cache.Informers, mapper meta.RESTMapper, index *policy.Index, log logr.Logger) *objects {
	o := &objects{informers: informers, mapper: mapper, index: index, log: log, watched: map[string]toolscache.ResourceEventHandlerRegistration{}}
	for _, r := range admit.Kinds() {
		if r.Stored {
			o.missing = append(o.missing, r)
		}
	}
	return o
}

// watch starts to watch the missing kinds that the API server has now. Those that it cannot tell of, which is an error,
// stay missing like those that it does not have.
func (o *objects) watch(ctx context.Context) ([]toolscache.ResourceEventHandlerRegistration, error) {
	var registrations []toolscache.ResourceEventHandlerRegistration
	var missing []admit.Kind
	var errs []error
	for _, r := range o.missing {
		registration, err := o.watchKind(ctx, r)
		if err != nil {
			missing = append(missing, r)
			if !meta.IsNoMatchError(err) {
				errs = append(errs, fmt.Errorf("watch %s: %w", r.Kind, err))
			}
			continue
		}
		registrations = append(registrations, registration)
		o.mu.Lock()
		o.watched[r.Kind] = registration
		o.mu.Unlock()
	}
	o.missing = missing
	return registrations, errors.Join(errs...)
}

func (o *objects) watchKind(ctx context.Context, r admit.Kind) (toolscache.ResourceEventHandlerRegistration, error) {
	mapping, err := o.mapper.RESTMapping(schema.GroupKind{Group: r.Group, Kind: object.APIKind(r.Kind)}, r.Versions...)
	if err != nil {
		return nil, err
	}
	obj := &unstructured.Unstructured{}
	obj.SetGroupVersionKind(mapping.GroupVersionKind)
	informer, err := o.informers.GetInformer(ctx, obj, cache.BlockUntilSynced(false))
	if err != nil {
		return nil, err
	}
	return informer.AddEventHandler(handlers(
		func(s *stored) { o.index.SetObject(s.view) },
		func(key toolscache.ObjectName) {
			o.index.DeleteObject(object.Key{Kind: r.Kind, Namespace: key.Namespace, Name: key.Name})
		},
	))
}

// have reports whether all objects of the kinds are in the index.
func (o *objects) have(kinds []string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !slices.ContainsFunc(kinds, func(kind string) bool {
		registration, watched := o.watched[kind]
		return !watched || !registration.HasSynced()
	})
}

// NeedLeaderElection reports whether every replica watches.
func (o *objects) NeedLeaderElection() bool { return false }

// Start looks for the missing kinds until there are none or the context ends. That the API server cannot tell is no
// reason to end anything: it is asked again.
func (o *objects) Start(ctx context.Context) error {
	ticker := time.NewTicker(kindsRetry)
	defer ticker.Stop()
	for len(o.missing) > 0 {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if _, err := o.watch(ctx); err != nil && ctx.Err() == nil {
			o.log.Error(err, "kinds cannot be looked for, trying again", "pause", kindsRetry.String())
		}
	}
	return nil
}
