package controller

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/meshfence/meshfence/controller/audit"
	"github.com/meshfence/meshfence/controller/backfill"
	"github.com/meshfence/meshfence/controller/companion"
	"github.com/meshfence/meshfence/controller/mesh"
	"github.com/meshfence/meshfence/controller/meshconfig"
	"github.com/meshfence/meshfence/controller/metric"
	"github.com/meshfence/meshfence/controller/reach"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/leak"
)

// fieldOwner is the manager of the fields that the controller writes.
const fieldOwner = "meshfence"

// The defaults of Options.
const (
	DefaultBackfillRate = 20
	DefaultResync       = 30 * time.Minute
	DefaultSettle       = 2 * time.Second
)

// Options are what the controller needs.
type Options struct {
	// Index answers for hosts and tells of changes.
	Index *policy.Index
	// Synced reports whether the index holds the whole cluster; nothing is written before.
	Synced func() bool
	// HasObjects reports whether the index holds all objects of some kinds, which the API server may get later.
	HasObjects func(kinds ...string) bool
	// Rules are those that the audit judges by.
	Rules []leak.Rule
	// Registerer takes the metrics.
	Registerer prometheus.Registerer
	// BackfillRate is how many objects a second the backfill writes at most; 0 means DefaultBackfillRate.
	BackfillRate float64
	// Resync is how often the backfill and the audit look at everything again; 0 means DefaultResync.
	Resync time.Duration
	// Settle is how long istiod and the proxies get to hear of a DestinationRule before routes lead to it, and
	// of changed routes before it goes; 0 means DefaultSettle.
	Settle time.Duration
	// InstallNamespace is the namespace of meshfence itself; empty means that of the manifests.
	InstallNamespace string
	// IdleSince is when the last leader renewed its lease, if no replica ran when this one started; zero otherwise.
	IdleSince time.Time
	// Explain says what is wrong with the webhook configuration of a kind; nil says nothing.
	Explain func(ctx context.Context, kind string) string
	// Yields reports whether another installation of meshfence has the cluster, so that this one writes nothing; nil
	// means never.
	Yields func() bool
}

func (o Options) validate() error {
	var errs []error
	for _, field := range []struct {
		name string
		set  bool
	}{{"Index", o.Index != nil}, {"Synced", o.Synced != nil}, {"HasObjects", o.HasObjects != nil}, {"Rules", len(o.Rules) > 0},
		{"Registerer", o.Registerer != nil}} {
		if !field.set {
			errs = append(errs, fmt.Errorf("%s must be set", field.name))
		}
	}
	for _, field := range []struct {
		name     string
		negative bool
	}{{"BackfillRate", o.BackfillRate < 0}, {"Resync", o.Resync < 0}, {"Settle", o.Settle < 0}} {
		if field.negative {
			errs = append(errs, fmt.Errorf("%s must not be negative", field.name))
		}
	}
	return errors.Join(errs...)
}

func (o Options) withDefaults() Options {
	if o.BackfillRate == 0 {
		o.BackfillRate = DefaultBackfillRate
	}
	if o.Resync == 0 {
		o.Resync = DefaultResync
	}
	if o.Settle == 0 {
		o.Settle = DefaultSettle
	}
	if o.InstallNamespace == "" {
		o.InstallNamespace = policy.InstallNamespace
	}
	if o.Yields == nil {
		o.Yields = func() bool { return false }
	}
	return o
}

// Setup adds the controller to a manager, whose cache must hold the names of Services.
func Setup(mgr ctrl.Manager, o Options) error {
	if err := o.validate(); err != nil {
		return fmt.Errorf("controller options: %w", err)
	}
	m, err := metric.New(o.Registerer)
	if err != nil {
		return err
	}
	o = o.withDefaults()
	ask, err := reach.NewAsk(mgr.GetConfig())
	if err != nil {
		return err
	}
	return mgr.Add(&runner{
		Options:  o,
		mgr:      mgr,
		metrics:  m,
		writer:   yielding{client.WithFieldOwner(mgr.GetClient(), fieldOwner), o.Yields},
		recorder: mgr.GetEventRecorder(fieldOwner),
		ask:      ask,
	})
}

// runner starts the parts of the controller when its replica becomes the leader.
type runner struct {
	Options

	mgr      ctrl.Manager
	metrics  *metric.Set
	writer   client.Client
	recorder events.EventRecorder
	ask      func(context.Context) ([]string, error)
	// outage is when no replica ran, known once this one has led.
	outage audit.Outage
}

// NeedLeaderElection makes the manager start the runner on the leader only.
func (r *runner) NeedLeaderElection() bool { return true }

// Start runs for a term of leadership, until the context ends or a part fails. It may be called again.
func (r *runner) Start(ctx context.Context) error {
	ctx = logf.IntoContext(ctx, r.mgr.GetLogger().WithName("controller"))
	defer r.metrics.Forget() // who does not lead says nothing of the cluster
	called := reach.New(reach.Options{
		Namespace: r.InstallNamespace, Name: fieldOwner, Ask: r.ask, Explain: r.Explain, Recorder: r.recorder, Metrics: r.metrics,
	})
	return together(ctx, called.Run, r.keep)
}

// keep runs what needs the whole index, until the context ends or a part fails.
func (r *runner) keep(ctx context.Context) error {
	synced := func(context.Context) (bool, error) { return r.Synced(), nil }
	if err := wait.PollUntilContextCancel(ctx, 100*time.Millisecond, true, synced); err != nil {
		return ended(ctx, err)
	}
	if !r.IdleSince.IsZero() && r.outage.To.IsZero() {
		r.outage = audit.Outage{From: r.IdleSince, To: time.Now()}
		logf.FromContext(ctx).Info("no replica ran before this one: what leaks and was written then is told of as such", "when", r.outage.String())
	}
	live := r.mgr.GetAPIReader()
	meshConfigs := meshconfig.New(meshconfig.Options{
		Index: r.Index, Reader: live, Writer: r.writer, FieldOwner: fieldOwner, Recorder: r.recorder, Metrics: r.metrics,
		Watch: meshconfig.Watch(r.mgr), Resync: r.Resync,
	})
	audits := audit.New(audit.Options{
		Auditor: audit.Auditor{Index: r.Index, Guard: leak.NewGuard(r.Rules), Reader: live, Now: time.Now},
		Mapper:  r.mgr.GetRESTMapper(), Recorder: r.recorder, Metrics: r.metrics, Resync: r.Resync, Outage: r.outage,
	})
	unheld, lost := audit.NewUnheld(r.Index, r.recorder, r.metrics), audit.NewLost(r.Index, live, r.recorder)
	return ended(ctx, together(ctx, meshConfigs.Run, audits.Run, unheld.Run, lost.Run, r.keepObjects))
}

// keepObjects runs the parts that read and write Istio's objects, as soon as the API server has their kinds.
func (r *runner) keepObjects(ctx context.Context) error {
	kinds, err := mesh.FindKinds(ctx, r.mgr.GetRESTMapper(), r.HasObjects)
	if err != nil {
		return ended(ctx, err)
	}
	objects := &mesh.Mesh{Kinds: kinds, Index: r.Index}
	companions, err := companion.New(companion.Options{
		Mesh: objects, Live: r.mgr.GetAPIReader(), Writer: r.writer, Yields: r.Yields, Recorder: r.recorder, Metrics: r.metrics, Settle: r.Settle,
	}).Controller(r.controllerOptions())
	if err != nil {
		return err
	}
	fill := backfill.New(backfill.Options{
		Mesh: objects, Writer: r.writer, Recorder: r.recorder, Metrics: r.metrics,
		Rate: r.BackfillRate, Settle: r.Settle, Resync: r.Resync,
	})
	return ended(ctx, together(ctx, companions.Start, fill.Run))
}

// controllerOptions are those of the manager, but a controller starts with each term of leadership, and waits
// for its caches as long as it takes, because a missing right must not end admission in the same process.
func (r *runner) controllerOptions() controller.Options {
	o := controller.Options{Logger: r.mgr.GetLogger(), SkipNameValidation: new(true), CacheSyncTimeout: math.MaxInt64}
	o.DefaultFromConfig(r.mgr.GetControllerOptions())
	return o
}

// together runs the parts until the context ends or one fails, and returns when all have ended.
func together(ctx context.Context, parts ...func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var running sync.WaitGroup
	failed := make(chan error, len(parts))
	for _, part := range parts {
		running.Go(func() {
			if err := part(ctx); err != nil {
				failed <- err
				cancel(err)
			}
		})
	}
	running.Wait()
	close(failed)
	return <-failed
}

// ended hides the error of what the end of the context cut short.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
