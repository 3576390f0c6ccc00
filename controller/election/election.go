package election

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/manager"
)

// The shortest and the longest pause before a part that has failed starts again.
const (
	retryFirst = time.Second
	retryMax   = time.Minute
)

// Timing is that of client-go's leader election. A term ends RenewDeadline after the last renewal, and another replica
// may take over after LeaseDuration: in between, the parts of the leader must have stopped.
type Timing struct{ LeaseDuration, RenewDeadline, RetryPeriod time.Duration }

// DefaultTiming returns the timing of the components of Kubernetes, and of controller-runtime.
func DefaultTiming() Timing { return Timing{15 * time.Second, 10 * time.Second, 2 * time.Second} }

// NewLock returns the lock on a Lease that replicas elect their leader by.
func NewLock(config *rest.Config, namespace, name string, timing Timing) (resourcelock.Interface, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("name of this replica: %w", err)
	}
	// A client of its own: no other request may keep a renewal waiting, and one that hangs must leave time for another.
	own := rest.CopyConfig(config)
	own.UserAgent += "/leader-election"
	own.Timeout = max(time.Second, timing.RenewDeadline/2)
	client, err := kubernetes.NewForConfig(own)
	if err != nil {
		return nil, fmt.Errorf("client for the Lease: %w", err)
	}
	return &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: namespace, Name: name},
		Client:     client.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: host + "_" + string(uuid.NewUUID())},
	}, nil
}

// IdleSince returns when the last leader renewed the lease; zero where there is none, or where one may lead right now.
func IdleSince(ctx context.Context, lock resourcelock.Interface, timing Timing, now time.Time) (time.Time, error) {
	record, _, err := lock.Get(ctx)
	if apierrors.IsNotFound(err) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("get the Lease: %w", err)
	}
	if now.Sub(record.RenewTime.Time) <= timing.RenewDeadline {
		return time.Time{}, nil
	}
	return record.RenewTime.Time, nil
}

// Election is a runnable that takes part in the election until its context ends, and runs its parts while it leads.
type Election struct {
	name   string
	lock   resourcelock.Interface
	timing Timing
	log    logr.Logger
	parts  []manager.Runnable
}

// New returns an election by a lock, or one that is always won where the lock is nil. Its name is that of the metric that
// says who leads. The error is that of the timing.
func New(name string, lock resourcelock.Interface, timing Timing, log logr.Logger) (*Election, error) {
	e := &Election{name: name, lock: lock, timing: timing, log: log}
	if lock == nil {
		return e, nil
	}
	if _, err := e.elector(nil); err != nil {
		return nil, err
	}
	return e, nil
}

// Add adds a part, before the election starts. It must be such that it can be started again after it has ended.
func (e *Election) Add(part manager.Runnable) { e.parts = append(e.parts, part) }

// NeedLeaderElection says that every replica takes part.
func (e *Election) NeedLeaderElection() bool { return false }

// Start returns when the context has ended, and with it every part. The lease is given up after that.
func (e *Election) Start(ctx context.Context) error {
	if e.lock == nil {
		e.lead(ctx)
		return nil
	}
	for ctx.Err() == nil {
		if err := e.term(ctx); err != nil {
			return err
		}
	}
	e.release()
	return nil
}

// term waits to be elected and runs the parts until the lease is lost or the context ends.
func (e *Election) term(ctx context.Context) error {
	elected, ended := make(chan context.Context, 1), make(chan struct{})
	elector, err := e.elector(elected)
	if err != nil {
		return err
	}
	// The elector's own context outlives the parts, so that no other replica leads while they still run.
	electing, stop := context.WithCancel(logr.NewContext(context.WithoutCancel(ctx), e.log))
	defer stop()
	go func() {
		defer close(ended)
		elector.Run(electing)
	}()
	select {
	case <-ctx.Done():
	case leading := <-elected:
		e.log.Info("leading", "identity", e.lock.Identity())
		leading, cancel := context.WithCancel(leading)
		defer context.AfterFunc(ctx, cancel)()
		var watching sync.WaitGroup
		watching.Go(func() { e.endWhenTaken(leading, elector, cancel) })
		e.lead(leading)
		cancel()
		watching.Wait()
		e.log.Info("no longer leading", "identity", e.lock.Identity(), "shutdown", ctx.Err() != nil)
	}
	stop()
	<-ended
	return nil
}

// endWhenTaken ends a term as soon as the elector has seen that another replica leads, such as after this process stood
// still. The elector itself tries to renew until the deadline (renew in client-go's tools/leaderelection/leaderelection.go),
// and two would lead for so long.
func (e *Election) endWhenTaken(term context.Context, elector *leaderelection.LeaderElector, end func()) {
	ticker := time.NewTicker(e.timing.RetryPeriod / 2)
	defer ticker.Stop()
	for elector.IsLeader() {
		select {
		case <-term.Done():
			return
		case <-ticker.C:
		}
	}
	end()
}

// elector returns an elector, which is good for one term, that sends the context of the term.
func (e *Election) elector(elected chan<- context.Context) (*leaderelection.LeaderElector, error) {
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock:          e.lock,
		LeaseDuration: e.timing.LeaseDuration,
		RenewDeadline: e.timing.RenewDeadline,
		RetryPeriod:   e.timing.RetryPeriod,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) { elected <- ctx },
			OnStoppedLeading: func() {},
		},
		Name: e.name,
	})
	if err != nil {
		return nil, fmt.Errorf("leader election: %w", err)
	}
	return elector, nil
}

// release gives the lease up if this replica holds it, so that the next leader need not wait until it expires. The
// elector would do so (ReleaseOnCancel) before the parts have ended.
func (e *Election) release() {
	ctx, cancel := context.WithTimeout(context.Background(), e.timing.RetryPeriod)
	defer cancel()
	record, _, err := e.lock.Get(ctx)
	if err != nil || record.HolderIdentity != e.lock.Identity() {
		return
	}
	record.HolderIdentity, record.LeaseDurationSeconds = "", 1
	if err := e.lock.Update(ctx, *record); err != nil {
		e.log.Info("the lease is left to expire", "reason", err.Error())
	}
}

// lead runs all parts until the context ends, and returns when they have ended.
func (e *Election) lead(ctx context.Context) {
	var running sync.WaitGroup
	for _, part := range e.parts {
		running.Go(func() { e.keep(ctx, part) })
	}
	<-ctx.Done()
	running.Wait()
}

// keep runs a part, and again each time it fails: what it lacks may come.
func (e *Election) keep(ctx context.Context, part manager.Runnable) {
	for pause := retryFirst; ; pause = min(2*pause, retryMax) {
		err := part.Start(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		e.log.Error(err, "a part of the leader failed and starts again", "part", fmt.Sprintf("%T", part), "pause", pause.String())
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// Manager is a manager whose parts for the leader belong to an election, which it runs.
type Manager struct {
	ctrl.Manager

	election *Election
}

// NewManager adds an election to a manager that has none of its own.
func NewManager(mgr ctrl.Manager, e *Election) (*Manager, error) {
	if err := mgr.Add(e); err != nil {
		return nil, fmt.Errorf("add the election: %w", err)
	}
	return &Manager{Manager: mgr, election: e}, nil
}

// Add adds what says that it needs leader election to the election, and anything else to the manager.
func (m *Manager) Add(r manager.Runnable) error {
	if part, ok := r.(manager.LeaderElectionRunnable); ok && part.NeedLeaderElection() {
		m.election.Add(r)
		return nil
	}
	return m.Manager.Add(r)
}
