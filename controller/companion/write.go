package companion

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/meshfence/meshfence/controller/mesh"
	"github.com/meshfence/meshfence/controller/metric"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/inject"
)

// errChanged says that something between us and the store does not leave companions as they are.
var errChanged = errors.New("another admission webhook changes the companion")

// errNowhere says that a companion has no Namespace to be in, and needs none before that comes.
var errNowhere = errors.New("the Namespace of the companion is not here, or goes")

// write makes one companion what it should be. The time returned is how long to wait where somebody else keeps changing
// it.
func (r *Reconciler) write(ctx context.Context, past *past, w Write, service *corev1.Service) (time.Duration, error) {
	if w.Want == nil {
		return r.remove(ctx, past, w, service)
	}
	if w.TakeBack {
		var err error
		if w.Old, err = r.takeBack(ctx, r.Mesh.GVK(w.Kind), service); err != nil {
			return 0, err
		}
	}
	return r.keep(ctx, past, w, service)
}

// takeBack returns the object that has taken the name of a companion, to be made one: nobody else may have the name.
// What it holds stays in an annotation.
func (r *Reconciler) takeBack(ctx context.Context, gvk schema.GroupVersionKind, service *corev1.Service) (*unstructured.Unstructured, error) {
	u := mesh.ObjectOf(gvk)
	err := r.Live.Get(ctx, client.ObjectKey{Namespace: service.Namespace, Name: inject.CompanionName(service.Name)}, u)
	if apierrors.IsNotFound(err) {
		return nil, nil // it is gone by now
	}
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", gvk.Kind, err)
	}
	record(u)
	return u, nil
}

// keep makes a companion equal to what it should be. The time returned is as that of write.
func (r *Reconciler) keep(ctx context.Context, past *past, w Write, service *corev1.Service) (time.Duration, error) {
	u, action := mesh.ObjectOf(r.Mesh.GVK(w.Kind)), metric.ActionCreate
	if w.Old != nil {
		u, action = w.Old.DeepCopy(), metric.ActionUpdate
	}
	owners := Owners(service, r.Mesh.Index.Config())
	if _, replaced := u.GetAnnotations()[ReplacedAnnotation]; replaced {
		owners = nil // the garbage collector must not take it with the Service
	}
	fill(u, w.Want, service, owners)
	if w.Old != nil && equality.Semantic.DeepEqual(u.Object, w.Old.Object) {
		return 0, nil
	}
	what := fmt.Sprint(w.Want.Annotations, w.Want.Spec) // maps are printed in the order of their keys
	if wait := past.contest(w.Kind).Wait(what, time.Now()); wait > 0 {
		return wait, nil
	}
	var err error
	if w.Old == nil {
		err = r.Writer.Create(ctx, u)
	} else {
		err = r.Writer.Update(ctx, u)
	}
	nowhere := service.UID == "" && w.Old == nil && apierrors.IsNotFound(err) // the config names a Namespace that is not here
	if nowhere || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return 0, errNowhere
	}
	if err != nil {
		return 0, fmt.Errorf("%s %s: %w", action, w.Kind, err)
	}
	r.wrote(ctx, past, w.Kind, action, what, service)
	stored := u.DeepCopy()
	fill(stored, w.Want, service, owners)
	if !equality.Semantic.DeepEqual(u.Object, stored.Object) {
		r.reportChanged(past, w.Kind, service)
		return 0, fmt.Errorf("%s %s: %w", action, w.Kind, errChanged)
	}
	delete(past.changed, w.Kind)
	return 0, nil
}

// reportChanged tells, once, that a companion comes back from a write as another one.
func (r *Reconciler) reportChanged(past *past, kind string, service *corev1.Service) {
	if past.changed[kind] {
		return
	}
	past.changed[kind] = true
	r.Recorder.Eventf(service, nil, corev1.EventTypeWarning, "CompanionChanged", "MakeCompanion",
		"another admission webhook changes the %s %s on its way to the store, so that the fence may not hold: let it leave alone what has the label %s: %s",
		kind, inject.CompanionName(service.Name), inject.ManagedByLabel, inject.ManagedBy)
}

// wrote counts a write, and tells when it shows that somebody else writes the companion too.
func (r *Reconciler) wrote(ctx context.Context, past *past, kind, action, what string, service *corev1.Service) {
	r.Metrics.CompanionWrites.WithLabelValues(kind, action).Inc()
	logf.FromContext(ctx).Info("companion written", "kind", kind, "action", action)
	if !past.contest(kind).Wrote(what, time.Now()) {
		return
	}
	name := inject.CompanionName(service.Name)
	logf.FromContext(ctx).Info("somebody else keeps changing a companion, which is written ever more slowly", "kind", kind, "name", name)
	r.Metrics.Contested.WithLabelValues(kind).Inc()
	r.Recorder.Eventf(service, nil, corev1.EventTypeWarning, "CompanionContested", "MakeCompanion",
		"somebody else keeps changing the %s %s, such as another installation of meshfence: remove what does", kind, name)
}

// fill writes what is ours into an object and leaves the rest.
func fill(u *unstructured.Unstructured, want *inject.Companion, service *corev1.Service, owners []metav1.OwnerReference) {
	u.SetNamespace(service.Namespace)
	u.SetName(inject.CompanionName(service.Name))
	labels := u.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	labels[inject.ManagedByLabel] = inject.ManagedBy
	delete(labels, policy.RevisionLabel) // every revision must read it (row B14)
	u.SetLabels(labels)
	annotations := u.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	for _, key := range inject.OwnAnnotations() {
		delete(annotations, key)
		if value, ok := want.Annotations[key]; ok {
			annotations[key] = value
		}
	}
	if len(annotations) == 0 {
		annotations = nil
	}
	u.SetAnnotations(annotations)
	u.SetOwnerReferences(owners)
	u.Object["spec"] = runtime.DeepCopyJSON(want.Spec)
}

// remove deletes a companion, or makes it what it was before it was made one, unless it is another one by now. The time
// returned is as that of write.
func (r *Reconciler) remove(ctx context.Context, past *past, w Write, service *corev1.Service) (time.Duration, error) {
	if wait := past.contest(w.Kind).Wait(metric.ActionDelete, time.Now()); wait > 0 {
		return wait, nil
	}
	action := metric.ActionDelete
	before, err := before(w.Old)
	switch {
	case err != nil:
		return 0, err
	case before != nil:
		action = metric.ActionUpdate
		err = r.Writer.Update(ctx, before)
	default:
		err = r.delete(ctx, w)
	}
	if apierrors.IsNotFound(err) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("%s %s: %w", action, w.Kind, err)
	}
	r.wrote(ctx, past, w.Kind, action, metric.ActionDelete, service)
	return 0, nil
}

// delete deletes a companion, unless it is another one by now.
func (r *Reconciler) delete(ctx context.Context, w Write) error {
	doomed := mesh.ObjectOf(r.Mesh.GVK(w.Kind))
	doomed.SetNamespace(w.Old.GetNamespace())
	doomed.SetName(w.Old.GetName())
	version, uid := w.Old.GetResourceVersion(), w.Old.GetUID()
	return r.Writer.Delete(ctx, doomed, client.Preconditions{UID: &uid, ResourceVersion: &version})
}
