package controller

import (
	"context"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/controller/metric"
)

// ErrYields is the error of a write of a replica that yields.
var ErrYields = errYields

// Yielding returns a client that writes nothing while its replica yields.
func Yielding(c client.Client, yields func() bool) client.Client { return yielding{c, yields} }

// Together is together.
func Together(ctx context.Context, parts ...func(context.Context) error) error {
	return together(ctx, parts...)
}

// Ended is ended.
func Ended(ctx context.Context, err error) error { return ended(ctx, err) }

// KeepObjects runs the parts that read and write Istio's objects.
func KeepObjects(ctx context.Context, mgr ctrl.Manager, o Options, metrics *metric.Set) error {
	r := &runner{Options: o.withDefaults(), mgr: mgr, metrics: metrics, writer: mgr.GetClient(), recorder: mgr.GetEventRecorder("")}
	return r.keepObjects(ctx)
}
