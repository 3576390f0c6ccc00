package controller

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
)

const (
	// auditGather is how long changes are gathered before what they touch is judged.
	auditGather = 500 * time.Millisecond
	// auditRetry is how soon an audit that could not read something is repeated.
	auditRetry = 10 * time.Second
)

// audit judges every object again when it, or the fence of what it names, changes, and everything on a slow resync.
// What it finds is an Event on the object and a metric.
type audit struct {
	Auditor
	mapper   meta.RESTMapper
	recorder events.EventRecorder
	metrics  *metrics
	resync   time.Duration

	dirty *dirty
	// told is what was found last, by object.
	told map[object.Key]Standing
	// deserted are the strict Services without a ready endpoint here.
	deserted map[object.Key]bool
	// ending are the exemptions that were spoken of.
	ending map[string]bool
}

func newAudit(r *runner) *audit {
	return &audit{
		Auditor:  Auditor{Index: r.Index, Guard: leak.NewGuard(r.Rules), Reader: r.mgr.GetAPIReader(), Now: time.Now},
		mapper:   r.mgr.GetRESTMapper(),
		recorder: r.recorder,
		metrics:  r.metrics,
		resync:   r.Resync,
		dirty:    &dirty{objects: map[object.Key]bool{}, scope: newScope(), full: make(chan struct{}, 1)},
		told:     map[object.Key]Standing{},
		deserted: map[object.Key]bool{},
		ending:   map[string]bool{},
	}
}

// run audits until the context ends.
func (a *audit) run(ctx context.Context) error {
	log := logf.FromContext(ctx).WithName("audit")
	defer a.Index.WatchObjects(a.dirty.object)()
	defer a.Index.Subscribe(a.dirty.change)()
	a.dirty.change(policy.Change{})
	for next := time.Now().Add(a.resync); ; {
		if !sleep(ctx, time.Until(next), a.dirty.full) || !sleep(ctx, auditGather, nil) {
			return nil
		}
		objects, changes := a.dirty.take()
		everything := changes.all || len(changes.namespaces) > 0 || !time.Now().Before(next)
		if everything {
			next = time.Now().Add(a.resync)
		}
		if err := a.pass(ctx, everything, objects, changes.services); err != nil && ctx.Err() == nil {
			log.Error(err, "objects cannot be audited")
			next = time.Now().Add(auditRetry)
		}
		a.publish()
	}
}

// pass judges everything, or the objects and Services given and what names them.
func (a *audit) pass(ctx context.Context, everything bool, objects map[object.Key]bool, services map[hostname.Host]bool) error {
	a.exemptions()
	if everything {
		report, err := a.Audit(ctx)
		if err != nil {
			return err
		}
		gone := maps.Clone(a.told)
		for _, s := range report.Standing {
			delete(gone, s.Key)
			a.tell(s)
		}
		for key := range gone {
			delete(a.told, key)
		}
		a.desert(report.Services)
		return nil
	}
	for host := range services {
		for _, o := range a.Index.View().Related(host) {
			objects[o.Key()] = true
		}
		named := append(a.Index.View().Aliases(host.FQDN(a.Index.Config().ClusterDomain)), host)
		for _, service := range named {
			if err := a.service(ctx, service); err != nil {
				return err
			}
		}
	}
	for _, key := range slices.SortedFunc(maps.Keys(objects), object.Key.Compare) {
		if err := a.again(ctx, key); err != nil {
			return err
		}
		for _, o := range a.Index.View().ReadThrough(key) {
			if err := a.again(ctx, o.Key()); err != nil {
				return err
			}
		}
		if key.Kind != object.KindVirtualService {
			continue
		}
		for _, root := range a.Index.View().Delegators(key) {
			if err := a.again(ctx, root.Key()); err != nil {
				return err
			}
		}
	}
	return nil
}

// again judges an object and tells what is found.
func (a *audit) again(ctx context.Context, key object.Key) error {
	standing, err := a.Object(ctx, key)
	if err == nil {
		a.tell(standing)
	}
	return err
}

// service judges a Service that is strict, or was found to leak before.
func (a *audit) service(ctx context.Context, host hostname.Host) error {
	key := object.Key{Kind: object.KindService, Namespace: host.Namespace, Name: host.Name}
	match := a.Index.View().Match(host.FQDN(a.Index.Config().ClusterDomain))
	if _, told := a.told[key]; !told && !match.Has(policy.Strict) {
		return nil
	}
	var service corev1.Service
	err := a.Reader.Get(ctx, client.ObjectKey{Namespace: host.Namespace, Name: host.Name}, &service)
	if apierrors.IsNotFound(err) {
		delete(a.told, key)
		return nil
	}
	if err != nil {
		return fmt.Errorf("get Service %s/%s: %w", host.Namespace, host.Name, err)
	}
	standing, err := a.Service(&service)
	if err == nil {
		a.tell(standing)
	}
	return err
}

// tell makes an Event of each finding that was not there before.
func (a *audit) tell(s Standing) {
	old := a.told[s.Key]
	if !s.any() {
		delete(a.told, s.Key)
		return
	}
	a.told[s.Key] = s
	// The message is part of it: an Event must not go on stating a reason that has changed.
	stood := map[[4]string]bool{}
	for _, f := range old.findings() {
		stood[[4]string{f.Rule, f.Field(), f.Host.Host, f.Message()}] = true
	}
	for _, f := range s.findings() {
		if !stood[[4]string{f.Rule, f.Field(), f.Host.Host, f.Message()}] {
			a.event(s.Key, s.UID, "Leak", f.Field()+": "+f.Message())
		}
	}
}

// findings are those that nobody has accepted.
func (s Standing) findings() []leak.Finding { return slices.Concat(s.Denied, s.Warned, s.Audited) }

// desert tells of strict Services that have no ready endpoint here, so that calls fail: once for each namespace, and again
// when there are others in it.
func (a *audit) desert(services []FencedService) {
	deserted := map[object.Key]bool{}
	names, fresh := map[string][]string{}, map[string]bool{}
	for _, s := range services {
		if s.Ready > 0 || s.Fence != policy.Strict.String() {
			continue
		}
		key := object.Key{Kind: object.KindService, Namespace: s.Namespace, Name: s.Name}
		deserted[key] = true
		names[s.Namespace] = append(names[s.Namespace], s.Name)
		fresh[s.Namespace] = fresh[s.Namespace] || !a.deserted[key]
	}
	a.deserted = deserted
	for _, namespace := range slices.Sorted(maps.Keys(names)) {
		if fresh[namespace] {
			a.event(object.Key{Kind: object.KindNamespace, Name: namespace}, "", "NoLocalEndpoint", desertedNote(names[namespace]))
		}
	}
}

// maxNamed is how many Services a note names.
const maxNamed = 10

// desertedNote says the same of the same Services in whatever order they come.
func desertedNote(names []string) string {
	slices.Sort(names)
	list := strings.Join(names[:min(len(names), maxNamed)], ", ")
	if more := len(names) - maxNamed; more > 0 {
		list += fmt.Sprintf(" and %d more", more)
	}
	return fmt.Sprintf("strict Services without a ready endpoint in this cluster, calls to which fail: %d (%s)", len(names), list)
}

// exemptions tells of those that end soon.
func (a *audit) exemptions() {
	for _, e := range a.Index.Config().Exemptions {
		note := fmt.Sprintf("the exemption of %s from %s ends after %s", e.Objects(), e.Rule, e.Until.Format(time.DateOnly))
		if e.EndsSoon(a.Now()) && !a.ending[note] {
			a.ending[note] = true
			a.recorder.Eventf(&corev1.ObjectReference{APIVersion: "v1", Kind: object.KindNamespace, Name: e.Namespace}, nil, corev1.EventTypeWarning,
				"ExemptionEnds", "Audit", "%.900s", note)
		}
	}
}

func (a *audit) event(key object.Key, uid, reason, note string) {
	gk := schema.GroupKind{Group: object.GroupOf(key.Kind), Kind: object.APIKind(key.Kind)}
	mapping, err := a.mapper.RESTMapping(gk)
	if err != nil {
		return // the kind has gone, and its objects with it
	}
	about := &corev1.ObjectReference{
		APIVersion: mapping.GroupVersionKind.GroupVersion().String(), Kind: key.Kind,
		Namespace: key.Namespace, Name: key.Name, UID: types.UID(uid),
	}
	a.recorder.Eventf(about, nil, corev1.EventTypeWarning, reason, "Audit", "%s", note[:min(len(note), maxNote)])
}

// publish counts what stands.
func (a *audit) publish() {
	a.metrics.standing.Reset()
	for _, s := range a.told {
		for _, group := range s.ByOutcome() {
			for _, f := range group.Findings {
				a.metrics.standing.WithLabelValues(f.Rule, group.Outcome).Add(float64(1 + f.More))
			}
		}
	}
	a.metrics.deserted.Set(float64(len(a.deserted)))
}

// dirty collects what is to be judged again.
type dirty struct {
	mu      sync.Mutex
	objects map[object.Key]bool
	scope   scope
	// full holds a token while there is something to do.
	full chan struct{}
}

func (d *dirty) object(key object.Key) { d.put(func() { d.objects[key] = true }) }

func (d *dirty) change(c policy.Change) { d.put(func() { d.scope.add(c) }) }

func (d *dirty) put(add func()) {
	d.mu.Lock()
	add()
	d.mu.Unlock()
	select {
	case d.full <- struct{}{}:
	default:
	}
}

func (d *dirty) take() (map[object.Key]bool, scope) {
	d.mu.Lock()
	defer d.mu.Unlock()
	objects, changes := d.objects, d.scope
	d.objects, d.scope = map[object.Key]bool{}, newScope()
	return objects, changes
}
