package meshconfig

import (
	"context"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	toolscache "k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Watch is how a Keeper hears of the ConfigMaps of a manager's cluster: one by one and by name, since the manager's cache
// holds only the FenceConfig.
func Watch(mgr ctrl.Manager) func(ctx context.Context, running *sync.WaitGroup, key client.ObjectKey, changed func()) error {
	return func(ctx context.Context, running *sync.WaitGroup, key client.ObjectKey, changed func()) error {
		one, err := cache.New(mgr.GetConfig(), cache.Options{
			HTTPClient: mgr.GetHTTPClient(),
			Scheme:     mgr.GetScheme(),
			Mapper:     mgr.GetRESTMapper(),
			ByObject: map[client.Object]cache.ByObject{&corev1.ConfigMap{}: {Namespaces: map[string]cache.Config{
				key.Namespace: {FieldSelector: fields.OneTermEqualSelector("metadata.name", key.Name)},
			}}},
			DefaultWatchErrorHandler: func(ctx context.Context, r *toolscache.Reflector, err error) {
				if ctx.Err() == nil { // the end of a term is no error
					toolscache.DefaultWatchErrorHandler(ctx, r, err)
				}
			},
		})
		if err != nil {
			return err
		}
		informer, err := one.GetInformer(ctx, &corev1.ConfigMap{}, cache.BlockUntilSynced(false))
		if err != nil {
			return err
		}
		_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
			AddFunc:    func(any) { changed() },
			UpdateFunc: func(any, any) { changed() },
			DeleteFunc: func(any) { changed() },
		})
		if err != nil {
			return err
		}
		running.Go(func() { _ = one.Start(ctx) }) // its only error is a second start
		return nil
	}
}
