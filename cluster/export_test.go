package cluster

import (
	"context"
	"io"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/jsonview"
	"github.com/meshfence/meshfence/policy/object"
)

// LookForKinds looks for the stored kinds once, as Setup does, and then until the context ends or all are there.
func LookForKinds(ctx context.Context, informers cache.Informers, mapper meta.RESTMapper) (first, last error) {
	o := newObjects(informers, mapper, policy.NewIndex(&policy.Config{}), logr.Discard())
	_, first = o.watch(ctx)
	return first, o.Start(ctx)
}

// KeepLastGood returns what takes a config and what writes it.
func KeepLastGood(api client.Client, namespace string, log logr.Logger) (put func(string), start func(context.Context) error) {
	g := newLastGood(api, api, namespace, log)
	return g.put, g.Start
}

// Enter puts a cached object into an index, and reports whether the cache had a Service with all that the index takes.
func Enter(cached any, index *policy.Index) bool {
	s, ok := cached.(*service)
	if !ok || s.rest == nil {
		return false
	}
	s.enter(index)
	return true
}

// LookWhose returns what looks once whether the config of an index is for this cluster.
func LookWhose(index *policy.Index, reader client.Reader, recorder events.EventRecorder) func(context.Context) {
	i := &clusterIdentity{index: index, reader: reader, recorder: recorder, log: logr.Discard(), about: fenceConfigOf("meshfence-system")}
	return i.look
}

// Frames returns a reader of the events in a stream.
func Frames(stream io.ReadCloser) io.ReadCloser { return eventFramer{}.NewFrameReader(stream) }

// DecodeSent returns what decodes an object of a stored kind as a cache does.
func DecodeSent() func(text []byte) (runtime.Object, error) {
	decoder := viewDecoder{jsonview.Reader[sentView]()}
	return func(text []byte) (runtime.Object, error) { return runtime.Decode(decoder, text) }
}

// ViewOf returns the view of an object of a stored kind that a cache holds; nil of any other.
func ViewOf(cached any) *object.Object {
	if s, ok := cached.(*stored); ok {
		return s.view
	}
	return nil
}
