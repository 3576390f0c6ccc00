package companion

import (
	"context"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/controller"
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

// Controller returns a controller that reconciles Services at the start and whenever something that their companions depend
// on changes: the Service itself, its fence, or a DestinationRule or VirtualService that speaks of it.
func (r *Reconciler) Controller(o controller.Options) (controller.Controller, error) {
	o.Reconciler, o.MaxConcurrentReconciles = r, workers
	ctl, err := controller.NewUnmanaged("companions", o)
	if err != nil {
		return nil, err
	}
	return ctl, ctl.Watch(source.Func(r.subscribe))
}

// subscribe asks for all Services, and then for those of which the index tells a change, and for those of objects that
// change, by what the objects were before, too.
func (r *Reconciler) subscribe(ctx context.Context, queue requests) error {
	r.queue = queue
	changed := r.Mesh.Index.Subscribe(func(change policy.Change) {
		queue.Add(requestFor(hostname.Host{Namespace: change.Namespace, Name: change.Service}))
	})
	objects := r.Mesh.Index.WatchObjects(func(old, now *object.Object) {
		for _, o := range []*object.Object{old, now} {
			for _, host := range r.servicesOf(o) {
				queue.Add(requestFor(host))
			}
		}
	})
	context.AfterFunc(ctx, func() { changed(); objects() })
	queue.Add(requestFor(hostname.Host{}))
	return nil
}

// servicesOf returns the Services whose companion an object is, or may take the place of, and those whose companion rule a
// VirtualService may keep from going.
func (r *Reconciler) servicesOf(o *object.Object) []hostname.Host {
	if !mesh.Is(o) {
		return nil
	}
	var hosts []hostname.Host
	if name, ok := inject.CompanionOf(o.Metadata.Name); ok {
		hosts = append(hosts, hostname.Host{Namespace: o.Metadata.Namespace, Name: name})
	}
	domain := r.Mesh.Index.Config().ClusterDomain
	for _, name := range r.Mesh.Hosts(o) {
		if host, ok := hostname.Parse(name, domain); ok && host.Namespace == o.Metadata.Namespace {
			hosts = append(hosts, host)
		}
	}
	if o.VirtualService == nil {
		return hosts
	}
	for _, name := range r.Mesh.Reserved(o) {
		if host, ok := hostname.Parse(name, domain); ok {
			hosts = append(hosts, host)
		}
	}
	return hosts
}
