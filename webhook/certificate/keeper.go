package certificate

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

const (
	// keepTimeout bounds one look at the configurations and the writes that follow.
	keepTimeout = time.Minute
	// The shortest and the longest pause before a failed write is tried again.
	keepRetryFirst = time.Second
	keepRetryMax   = time.Minute
)

// keeperRunner runs a keeper while its replica leads, after every change of what it looks at. It is not a controller
// because those start only once, and there may be many terms.
type keeperRunner struct {
	keeper *CABundleKeeper
	cache  cache.Cache
	log    logr.Logger
}

// NeedLeaderElection reports whether only the leader writes.
func (r *keeperRunner) NeedLeaderElection() bool { return true }

// Start runs the keeper until the context ends.
func (r *keeperRunner) Start(ctx context.Context) error {
	ctx = logf.IntoContext(ctx, r.log)
	changed := make(chan struct{}, 1)
	for _, object := range []client.Object{&corev1.Secret{}, &admissionv1.MutatingWebhookConfiguration{}, &admissionv1.ValidatingWebhookConfiguration{}} {
		informer, err := r.cache.GetInformer(ctx, object)
		if err != nil {
			return fmt.Errorf("watch %T: %w", object, err)
		}
		registration, err := informer.AddEventHandler(whenever(changed))
		if err != nil {
			return fmt.Errorf("watch %T: %w", object, err)
		}
		defer func() { _ = informer.RemoveEventHandler(registration) }() // it fails where the informer has ended
	}
	for retry := keepRetryFirst; ; {
		next := r.keep(ctx)
		if next == 0 {
			next, retry = retry, min(2*retry, keepRetryMax)
		} else {
			retry = keepRetryFirst
		}
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
		case <-changed:
		case <-timer.C:
		}
		timer.Stop()
		if ctx.Err() != nil {
			return nil
		}
	}
}

// keep returns when to look again, 0 for soon.
func (r *keeperRunner) keep(ctx context.Context) time.Duration {
	ctx, cancel := context.WithTimeout(ctx, keepTimeout)
	defer cancel()
	result, err := r.keeper.Reconcile(ctx, reconcile.Request{})
	switch {
	case apierrors.IsConflict(err): // the informer tells of the edit
		return 0
	case err != nil:
		r.log.Error(err, "caBundles cannot be kept, trying again")
		return 0
	}
	return cmp.Or(result.RequeueAfter, bundleResync)
}

// whenever puts a token into a channel for every event.
func whenever(changed chan<- struct{}) toolscache.ResourceEventHandler {
	tell := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { tell() }, UpdateFunc: func(any, any) { tell() }, DeleteFunc: func(any) { tell() },
	}
}
