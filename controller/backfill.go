package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"golang.org/x/time/rate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
)

// The shortest and the longest time until a pass that left something undone is repeated.
const (
	retryFirst = time.Second
	retryMax   = 5 * time.Minute
)

// progressEvery is after how many objects the log tells how far a pass is.
const progressEvery = 100

// backfill brings objects in line that admission has not seen since their fence is what it is, whoever owns them. It
// writes nothing into them itself: a patch without content sends each through admission, leaves no trace in
// managedFields, and what comes back is what the owner's next apply would get. Nothing is remembered
// between leaders, because what is left to do shows in the objects.
type backfill struct {
	*mesh
	informers      cache.Informers
	live           client.Reader
	writer         client.Client
	board          *board
	limiter        *rate.Limiter
	inbox          *inbox
	settle, resync time.Duration
}

func newBackfill(r *runner, m *mesh, informers cache.Informers) *backfill {
	return &backfill{
		mesh:      m,
		informers: informers,
		live:      r.mgr.GetAPIReader(),
		writer:    r.writer,
		board:     newBoard(r.metrics, r.recorder),
		limiter:   rate.NewLimiter(rate.Limit(r.BackfillRate), 1),
		inbox:     newInbox(),
		settle:    r.Settle,
		resync:    r.Resync,
	}
}

// run makes one pass over everything, one over what each change touches, and repeats passes that left
// something undone, until the context ends.
func (b *backfill) run(ctx context.Context) error {
	defer b.index.Subscribe(b.inbox.put)()
	if err := b.watch(ctx); err != nil {
		return err
	}
	b.inbox.put(policy.Change{})
	resync := time.NewTicker(b.resync)
	defer resync.Stop()
	left, delay := newScope(), time.Duration(0)
	for {
		retry := time.NewTimer(delay)
		if left.empty() {
			retry.Stop()
		}
		select {
		case <-ctx.Done():
		case <-b.inbox.full:
			b.board.reconsider()
		case <-resync.C:
			b.inbox.put(policy.Change{})
			b.board.reconsider()
		case <-retry.C:
		}
		retry.Stop()
		if ctx.Err() != nil {
			return nil
		}
		s := b.inbox.take()
		s.merge(left)
		if left = newScope(); b.pass(ctx, s) {
			delay = 0
			continue
		}
		left, delay = s, min(max(2*delay, retryFirst), retryMax)
	}
}

// watch looks at what was written past admission, and again at what was skipped or refused when somebody
// changes it.
func (b *backfill) watch(ctx context.Context) error {
	again := func(o any) {
		u, ok := o.(*unstructured.Unstructured)
		if !ok {
			return
		}
		config := b.index.Config()
		unlike, _, _ := unstructured.NestedBool(u.Object, "spec", unlikeField)
		// With several clusters a rule gets a reserved subset when a route names it.
		names := len(config.Clusters) > 1 && len(values(u, reservedField)) > 0
		if !unlike && !names && !b.board.waiting(targetOf(u)) {
			return
		}
		for _, name := range b.named(u) {
			host, ok := hostname.Parse(name, config.ClusterDomain)
			if _, wildcard := hostname.Wildcard(name); ok || wildcard { // a wildcard asks for everything
				b.inbox.put(policy.Change{Namespace: host.Namespace, Service: host.Name})
			}
		}
	}
	for _, gvk := range []schema.GroupVersionKind{b.rule, b.route} {
		informer, err := b.informers.GetInformer(ctx, objectOf(gvk))
		if err != nil {
			return ended(ctx, fmt.Errorf("watch %s: %w", gvk.Kind, err))
		}
		_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerDetailedFuncs{
			AddFunc: func(o any, first bool) {
				if !first { // the first pass looks at all of those
					again(o)
				}
			},
			UpdateFunc: func(_, o any) { again(o) },
			DeleteFunc: again,
		})
		if err != nil {
			return fmt.Errorf("watch %s: %w", gvk.Kind, err)
		}
	}
	return nil
}

// pass brings the objects of a scope in line, and says whether none is left that another pass may mend.
func (b *backfill) pass(ctx context.Context, s scope) (done bool) {
	log := logf.FromContext(ctx).WithName("backfill")
	jobs, err := b.scan(ctx, s)
	if err != nil {
		log.Error(err, "objects cannot be read")
		return false
	}
	total := b.board.begin(s, jobs)
	if total == 0 {
		return true
	}
	log.Info("objects to bring in line", "objects", total)
	done = true
	at := 0
	for step := range steps {
		wrote := false
		for _, j := range jobs[step] {
			result := b.bring(ctx, j)
			if ctx.Err() != nil {
				return false
			}
			b.board.set(j, result)
			log.V(1).Info("object", "kind", j.kind, "namespace", j.namespace, "name", j.name, "state", result.state, "reason", result.reason)
			wrote = wrote || result.state == stateDone
			done = done && result.state != statePending
			if at++; at%progressEvery == 0 {
				log.Info("progress", b.board.counts()...)
			}
		}
		if wrote && (step == tighten && len(jobs[reroute]) > 0 || step == reroute && len(jobs[loosen]) > 0) {
			sleep(ctx, b.settle, nil)
		}
	}
	log.Info("pass is over", b.board.counts()...)
	return done
}

// bring sends one object through admission.
func (b *backfill) bring(ctx context.Context, j *job) result {
	if r, ok := b.board.denied(j); ok {
		return r
	}
	if r, err := b.ready(ctx, j); err != nil || r.state != "" {
		return orPending(r, err)
	}
	if err := b.limiter.Wait(ctx); err != nil {
		return orPending(result{}, err)
	}
	return b.write(ctx, j)
}

// errUnmended says that an object came back from the API server as it was.
var errUnmended = errors.New("admission left the object as it was")

// write patches nothing but makes sure that the object is still the one that was inspected.
func (b *backfill) write(ctx context.Context, j *job) result {
	precondition := map[string]any{"metadata": map[string]any{"uid": j.stub.GetUID(), "resourceVersion": j.stub.GetResourceVersion()}}
	patch, err := json.Marshal(precondition)
	if err != nil {
		return orPending(result{}, err)
	}
	stored := stubOf(j.stub)
	switch err := b.writer.Patch(ctx, stored, client.RawPatch(types.MergePatchType, patch)); {
	case apierrors.IsNotFound(err):
		return result{state: stateDone}
	case apierrors.IsInvalid(err), apierrors.IsForbidden(err), apierrors.IsBadRequest(err):
		return result{stateFailed, err.Error()}
	case err != nil:
		return orPending(result{}, err)
	}
	left, err := inspect(stored, b.index)
	if err == nil && left != nil {
		err = errUnmended
	}
	return orPending(result{state: stateDone}, err)
}

// orPending returns the result, or where there is an error that time may mend what it says.
func orPending(r result, err error) result {
	if err != nil {
		return result{statePending, err.Error()}
	}
	return r
}

// ready returns the state of an object that must wait for others, or an empty result.
func (b *backfill) ready(ctx context.Context, j *job) (result, error) {
	for _, host := range j.needs {
		if rule, r, ok := b.board.unlike(host); ok {
			return result{r.dependent(), fmt.Sprintf("DestinationRule %s/%s of %s comes first", rule.namespace, rule.name, host)}, nil
		}
		lacking, err := b.lacksRule(ctx, host)
		if err != nil {
			return result{}, err
		}
		if lacking != "" {
			return result{statePending, fmt.Sprintf("the reserved subset of %s comes first, in DestinationRule %s", host, lacking)}, nil
		}
	}
	if j.step != loosen {
		return result{}, nil
	}
	routes, err := b.reserves(ctx, j.rule)
	if err != nil || len(routes) == 0 {
		return result{}, err
	}
	state := statePending
	if r, ok := b.board.of(routes[0]); ok {
		state = r.dependent()
	}
	return result{state, fmt.Sprintf("VirtualService %s/%s leads to its reserved subset", routes[0].namespace, routes[0].name)}, nil
}
