package companion

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/meshfence/meshfence/controller/mesh"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/object"
)

// requests is the queue of a controller.
type requests = workqueue.TypedRateLimitingInterface[reconcile.Request]

// workers is how many Services are reconciled at once.
const workers = 4

// Controller returns a controller that reconciles Services whenever something that their companions depend on
// changes: the Service itself, its fence, or a DestinationRule or VirtualService that speaks of it.
func (r *Reconciler) Controller(services cache.Informers, objects cache.Cache, o controller.Options) (controller.Controller, error) {
	o.Reconciler, o.MaxConcurrentReconciles = r, workers
	ctl, err := controller.NewUnmanaged("companions", o)
	if err != nil {
		return nil, err
	}
	for _, watch := range []source.Source{
		source.Func(r.subscribe),
		source.Func(func(ctx context.Context, queue requests) error { return watchServices(ctx, services, queue) }),
		source.Kind(objects, mesh.ObjectOf(r.Mesh.Rule), r.enqueue()),
		source.Kind(objects, mesh.ObjectOf(r.Mesh.Route), r.enqueue()),
	} {
		if err := ctl.Watch(watch); err != nil {
			return nil, err
		}
	}
	return ctl, nil
}

// subscribe asks for the Services whose decision changes.
func (r *Reconciler) subscribe(ctx context.Context, queue requests) error {
	r.queue = queue
	cancel := r.Mesh.Index.Subscribe(func(change policy.Change) {
		queue.Add(requestFor(hostname.Host{Namespace: change.Namespace, Name: change.Service}))
	})
	context.AfterFunc(ctx, cancel)
	return nil
}

// watchServices asks for every Service that comes, goes or changes, until the context ends. The informer is the one that
// feeds the index: what it keeps of a Service is not enough to go by, so that only names are taken from it.
func watchServices(ctx context.Context, services cache.Informers, queue requests) error {
	informer, err := services.GetInformer(ctx, &corev1.Service{})
	if err != nil {
		return fmt.Errorf("watch Services: %w", err)
	}
	add := func(o any) {
		if key, err := toolscache.DeletionHandlingObjectToName(o); err == nil {
			queue.Add(reconcile.Request{NamespacedName: key.AsNamespacedName()})
		}
	}
	registration, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: add, UpdateFunc: func(_, o any) { add(o) }, DeleteFunc: add,
	})
	if err != nil {
		return fmt.Errorf("watch Services: %w", err)
	}
	context.AfterFunc(ctx, func() { _ = informer.RemoveEventHandler(registration) }) // it fails where the informer has ended
	return nil
}

// enqueue asks for the Services of an object, and of what it was before.
func (r *Reconciler) enqueue() handler.TypedEventHandler[*unstructured.Unstructured, reconcile.Request] {
	add := func(queue requests, u *unstructured.Unstructured) {
		for _, host := range r.servicesOf(u) {
			queue.Add(requestFor(host))
		}
	}
	return handler.TypedFuncs[*unstructured.Unstructured, reconcile.Request]{
		CreateFunc: func(_ context.Context, e event.TypedCreateEvent[*unstructured.Unstructured], queue requests) {
			add(queue, e.Object)
		},
		UpdateFunc: func(_ context.Context, e event.TypedUpdateEvent[*unstructured.Unstructured], queue requests) {
			add(queue, e.ObjectOld)
			add(queue, e.ObjectNew)
		},
		DeleteFunc: func(_ context.Context, e event.TypedDeleteEvent[*unstructured.Unstructured], queue requests) {
			add(queue, e.Object)
		},
	}
}

// servicesOf returns the Services whose companion a cached object is, or may take the place of, and those whose companion
// rule a VirtualService may keep from going.
func (r *Reconciler) servicesOf(u *unstructured.Unstructured) []hostname.Host {
	var hosts []hostname.Host
	if name, ok := inject.CompanionOf(u.GetName()); ok {
		hosts = append(hosts, hostname.Host{Namespace: u.GetNamespace(), Name: name})
	}
	domain := r.Mesh.Index.Config().ClusterDomain
	for _, name := range r.Mesh.Hosts(u) {
		if host, ok := hostname.Parse(name, domain); ok && host.Namespace == u.GetNamespace() {
			hosts = append(hosts, host)
		}
	}
	if u.GetKind() != object.KindVirtualService {
		return hosts
	}
	for _, name := range r.Mesh.Reserved(u) {
		if host, ok := hostname.Parse(name, domain); ok {
			hosts = append(hosts, host)
		}
	}
	return hosts
}
