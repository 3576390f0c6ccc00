package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/meshfence/meshfence/policy/admit"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/jsonview"
	"github.com/meshfence/meshfence/policy/object"
)

// NewCache returns a cache that reads what API servers send of the stored kinds straight into views. Any other makes a tree of
// each object first, of which [Keep] makes a text again: that costs much more, for each write anywhere.
func NewCache(config *rest.Config, options cache.Options) (cache.Cache, error) {
	if options.HTTPClient == nil {
		client, err := rest.HTTPClientFor(config)
		if err != nil {
			return nil, fmt.Errorf("HTTP client: %w", err)
		}
		options.HTTPClient = client
	}
	client, err := newViewClient(config, options.HTTPClient)
	if err != nil {
		return nil, fmt.Errorf("client of the stored kinds: %w", err)
	}
	kinds := admit.Kinds()
	options.NewInformer = func(source toolscache.ListerWatcher, example runtime.Object, resync time.Duration, indexers toolscache.Indexers) toolscache.SharedIndexInformer {
		if u, ok := example.(*unstructured.Unstructured); ok {
			if kind, ok := kinds.Find(u.GroupVersionKind().Group, u.GetKind()); ok && kind.Stored {
				return newViewInformer(client, u.GroupVersionKind(), kind, resync, indexers)
			}
		}
		return toolscache.NewSharedIndexInformer(source, example, resync, indexers)
	}
	return cache.New(config, options)
}

func newViewInformer(client rest.Interface, gvk schema.GroupVersionKind, kind admit.Kind, resync time.Duration, indexers toolscache.Indexers) toolscache.SharedIndexInformer {
	source := toolscache.NewFilteredListWatchFromClient(path{client, []string{"/apis", gvk.Group, gvk.Version}}, kind.Resource, metav1.NamespaceAll, func(o *metav1.ListOptions) {
		o.LabelSelector = kind.StoredBy
	})
	return toolscache.NewSharedIndexInformerWithOptions(source, &stored{}, toolscache.SharedIndexInformerOptions{
		ResyncPeriod: resync, Indexers: indexers, ObjectDescription: gvk.String(),
	})
}

// path is a client of what is below a path.
type path struct {
	rest.Interface

	below []string
}

// Get begins a request.
func (p path) Get() *rest.Request { return p.Interface.Get().AbsPath(p.below...) }

// newViewClient returns a client whose objects are views.
func newViewClient(config *rest.Config, client *http.Client) (rest.Interface, error) {
	config = rest.CopyConfig(config)
	config.GroupVersion = &schema.GroupVersion{}
	config.QPS = -1 // it is for all kinds, each of which asks once and then backs off
	config.AcceptContentTypes, config.ContentType = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	config.NegotiatedSerializer = runtime.NewSimpleNegotiatedSerializer(runtime.SerializerInfo{
		MediaType: runtime.ContentTypeJSON, EncodesAsText: true,
		Serializer:       runtime.NoopEncoder{Decoder: viewDecoder{jsonview.Reader[sentView]()}},
		StreamSerializer: &runtime.StreamSerializerInfo{EncodesAsText: true, Serializer: runtime.NoopEncoder{Decoder: eventDecoder{jsonview.Quick[eventView]()}}, Framer: eventFramer{kjson.Framer}},
	})
	return rest.UnversionedRESTClientForConfigAndClient(config, client)
}

// eventFramer tells events apart as the Framer in it does, which goes over each more than once.
type eventFramer struct{ runtime.Framer }

// NewFrameReader returns a reader whose every Read returns one event, or that there is no room for the rest of it.
func (eventFramer) NewFrameReader(r io.ReadCloser) io.ReadCloser {
	return &frameReader{ReadCloser: r, events: jsontext.NewDecoder(r, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))}
}

type frameReader struct {
	io.ReadCloser

	events *jsontext.Decoder
	rest   []byte // of an event that has been read
}

// Read reads an event, or what is left of one.
func (f *frameReader) Read(p []byte) (n int, err error) {
	if len(f.rest) == 0 {
		if f.rest, err = f.events.ReadValue(); err != nil {
			for inner := err; inner != nil; inner = errors.Unwrap(inner) {
				err = inner // as the stream says it, by which client-go knows the end of a connection
			}
			return 0, err
		}
	}
	n = copy(p, f.rest)
	if f.rest = f.rest[n:]; len(f.rest) > 0 {
		err = io.ErrShortBuffer
	}
	return n, err
}

// eventView is the part of an event of a watch that is read.
type eventView struct {
	Type   string        `json:"type"`
	Object jsonview.Part `json:"object"`
}

// eventDecoder decodes events. The object in one is a part of the text, which counts until the next event.
type eventDecoder struct {
	read func([]byte, *eventView) bool
}

// Decode fills a WatchEvent.
func (d eventDecoder) Decode(data []byte, _ *schema.GroupVersionKind, into runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	event, ok := into.(*metav1.WatchEvent)
	if !ok {
		return nil, nil, fmt.Errorf("decode an event into %T", into)
	}
	var view eventView
	if !d.read(data, &view) {
		return event, nil, json.Unmarshal(data, event)
	}
	event.Type, event.Object.Raw = view.Type, view.Object
	return event, nil, nil
}

// sentView is what a list, an object or a Status says of itself.
type sentView struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Namespace          string    `json:"namespace"`
		Name               string    `json:"name"`
		UID                types.UID `json:"uid"`
		ResourceVersion    string    `json:"resourceVersion"`
		Continue           string    `json:"continue"`
		RemainingItemCount *int64    `json:"remainingItemCount"`
	} `json:"metadata"`
	Items []json.RawMessage `json:"items"`
}

// viewDecoder decodes lists and objects of the stored kinds, and what an API server says instead.
type viewDecoder struct {
	read func([]byte, *sentView) error
}

// Decode returns a list, an object or a Status.
func (d viewDecoder) Decode(data []byte, _ *schema.GroupVersionKind, _ runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	var sent sentView
	if err := d.read(data, &sent); err != nil {
		return nil, nil, fmt.Errorf("decode what the API server sends: %w", err)
	}
	gvk := schema.FromAPIVersionAndKind(sent.APIVersion, sent.Kind)
	if gvk == metav1.Unversioned.WithKind("Status") {
		status := &metav1.Status{}
		return status, &gvk, json.Unmarshal(data, status)
	}
	name, isList := strings.CutSuffix(sent.Kind, "List")
	kind := object.KindIn(gvk.Group, name)
	if !isList {
		object, err := newStored(kind, sent, data)
		return object, &gvk, err
	}
	list := &storedList{ListMeta: metav1.ListMeta{
		ResourceVersion: sent.Metadata.ResourceVersion, Continue: sent.Metadata.Continue, RemainingItemCount: sent.Metadata.RemainingItemCount,
	}}
	for _, item := range sent.Items {
		var sent sentView
		if err := d.read(item, &sent); err != nil {
			return nil, nil, fmt.Errorf("decode an item of the %s: %w", gvk.Kind, err)
		}
		object, err := newStored(kind, sent, item)
		if err != nil {
			return nil, nil, err
		}
		list.Items = append(list.Items, object)
	}
	return list, &gvk, nil
}

// newStored returns what [Keep] keeps of an object.
func newStored(kind string, sent sentView, text []byte) (*stored, error) {
	m := sent.Metadata
	s := &stored{identity: identity{m.Namespace, m.Name, m.ResourceVersion, m.UID}}
	var err error
	if s.view, err = object.Decode(kind, text); err != nil {
		s.view = unreadable(kind, m.Namespace, m.Name)
		return s, nil
	}
	delete(s.view.Metadata.Annotations, corev1.LastAppliedConfigAnnotation)
	if inject.IsCompanion(m.Name, s.view.Metadata.Labels) {
		full := &unstructured.Unstructured{}
		if err = full.UnmarshalJSON(text); err == nil {
			s.view, err = Keep(full, kind)
		}
	}
	return s, err
}

// storedList is a list as a cache fills from it.
type storedList struct {
	metav1.ListMeta

	Items []*stored
}

// GetObjectKind returns nothing: the list is of one kind.
func (l *storedList) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject returns the list itself, which nobody writes to.
func (l *storedList) DeepCopyObject() runtime.Object { return l }
