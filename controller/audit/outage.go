package audit

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/meshfence/meshfence/policy/object"
)

// Outage is a time in which no replica ran, so that kinds that fail open were written past admission. The zero value is none.
type Outage struct{ From, To time.Time }

// String says when it was, in UTC and whole seconds, as the API server keeps the times of writes.
func (o Outage) String() string {
	return fmt.Sprintf("between %s and %s", o.From.UTC().Format(time.RFC3339), o.To.UTC().Format(time.RFC3339))
}

func (o Outage) covers(at time.Time) bool {
	return !at.Before(o.From.Truncate(time.Second)) && !at.After(o.To)
}

// missed begins the note about an object that was written while no replica ran; it is empty for any other. What is written
// is known to the second, and only for objects that leak it is asked.
func (a *Audit) missed(ctx context.Context, key object.Key) string {
	if a.Outage == (Outage{}) {
		return ""
	}
	at, err := a.written(ctx, key)
	if err != nil {
		logf.FromContext(ctx).Info("when an object was written is not known", "kind", key.Kind, "namespace", key.Namespace, "name", key.Name, "reason", err.Error())
		return ""
	}
	if !a.Outage.covers(at) {
		return ""
	}
	return fmt.Sprintf("written at %s, while no replica of meshfence ran, %s: ", at.UTC().Format(time.RFC3339), a.Outage)
}

// written returns when an object was written last, but for its status. It takes a list of its Namespace, because there is
// no right to get most kinds.
func (a *Audit) written(ctx context.Context, key object.Key) (time.Time, error) {
	mapping, err := a.Mapper.RESTMapping(schema.GroupKind{Group: object.GroupOf(key.Kind), Kind: object.APIKind(key.Kind)})
	if err != nil {
		return time.Time{}, err
	}
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(mapping.GroupVersionKind.GroupVersion().WithKind(mapping.GroupVersionKind.Kind + "List"))
	if err := a.Reader.List(ctx, list, client.InNamespace(key.Namespace)); err != nil {
		return time.Time{}, err
	}
	var last time.Time
	for _, o := range list.Items {
		if o.Name == key.Name {
			last = lastWrite(o.ObjectMeta)
		}
	}
	return last, nil
}

func lastWrite(o metav1.ObjectMeta) time.Time {
	last := o.CreationTimestamp.Time
	for _, f := range o.ManagedFields {
		if f.Subresource == "" && f.Time != nil && f.Time.After(last) {
			last = f.Time.Time
		}
	}
	return last
}
