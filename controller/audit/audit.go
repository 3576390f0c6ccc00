package audit

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/meshfence/meshfence/controller/change"
	"github.com/meshfence/meshfence/controller/metric"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

const (
	// gather is how long changes are gathered before what they touch is judged.
	gather = 500 * time.Millisecond
	// retry is how soon an audit that could not read something is repeated.
	retry = 10 * time.Second
	// singly is how many Services of a Namespace that have changed are read one by one, and namespacewise how many Namespaces:
	// for more, lists take less.
	singly, namespacewise = 10, 20
)

// Options are what an Audit needs. All must be set.
type Options struct {
	Auditor

	// Mapper finds the version of a kind.
	Mapper   meta.RESTMapper
	Recorder events.EventRecorder
	Metrics  *metric.Set
	// Resync is how often everything is judged again.
	Resync time.Duration
	// Outage is when no replica ran before this one. What was written then, and leaks, is told of as such.
	Outage Outage
}

// Audit judges every object again when it, or the fence of what it names, changes, and everything on a slow resync.
// What it finds is an Event on the object and a metric.
type Audit struct {
	Options

	inbox *change.Inbox
	// found is what was found last, by object.
	found map[object.Key]Result
	// unreachable are the strict Services without a ready endpoint here.
	unreachable map[object.Key]bool
	// ending are the exemptions that were spoken of.
	ending map[string]bool
}

// New returns an audit for one term of leadership.
func New(o Options) *Audit {
	return &Audit{
		Options:     o,
		inbox:       change.NewInbox(),
		found:       map[object.Key]Result{},
		unreachable: map[object.Key]bool{},
		ending:      map[string]bool{},
	}
}

// Run audits until the context ends.
func (a *Audit) Run(ctx context.Context) error {
	log := logf.FromContext(ctx).WithName("audit")
	defer a.Index.WatchObjects(func(old, now *object.Object) {
		if now == nil {
			now = old
		}
		a.inbox.PutObject(now.Key())
	})()
	defer a.Index.Subscribe(a.inbox.Put)()
	a.inbox.Put(policy.Change{})
	for next := time.Now().Add(a.Resync); ; {
		if !a.inbox.Full.WaitFor(ctx, time.Until(next)) || !change.Sleep(ctx, gather) {
			return nil
		}
		changes, objects := a.inbox.Take()
		lists(changes)
		if changes.All = changes.All || len(changes.Namespaces) > namespacewise || !time.Now().Before(next); changes.All {
			next = time.Now().Add(a.Resync)
		}
		if err := a.pass(ctx, changes, objects); err != nil && ctx.Err() == nil {
			log.Error(err, "objects cannot be audited")
			next = time.Now().Add(retry)
		}
		a.publish()
	}
}

// pass judges what changes touch, and the objects given: everything, or Services and Namespaces and what names them.
func (a *Audit) pass(ctx context.Context, changes change.Set, objects map[object.Key]bool) error {
	a.tellEnding()
	if changes.All {
		return a.all(ctx)
	}
	for _, namespace := range slices.Sorted(maps.Keys(changes.Namespaces)) {
		if err := a.namespace(ctx, namespace); err != nil {
			return err
		}
	}
	view := a.Index.View()
	services := touched(a.Index, changes)
	for _, host := range named(view, services) {
		if changes.Namespaces[host.Namespace] {
			continue
		}
		if err := a.service(ctx, host); err != nil {
			return err
		}
	}
	for namespace := range changes.Namespaces {
		for _, key := range a.Index.ObjectsIn(namespace) {
			objects[key] = true
		}
	}
	for _, key := range concerned(view, objects, services) {
		result, err := a.Object(ctx, key)
		if err != nil {
			return err
		}
		a.tell(ctx, result)
	}
	return nil
}

// all judges everything.
func (a *Audit) all(ctx context.Context) error {
	report, err := a.Auditor.Audit(ctx)
	if err != nil {
		return err
	}
	a.Metrics.AuditPass.SetToCurrentTime()
	a.take(ctx, report, func(object.Key) bool { return true })
	return nil
}

// namespace judges a Namespace and what is in it, but for what the index holds.
func (a *Audit) namespace(ctx context.Context, name string) error {
	report, err := a.Namespace(ctx, name)
	if err != nil {
		return err
	}
	a.take(ctx, report, func(key object.Key) bool {
		switch key.Kind {
		case object.KindService, object.KindEndpointSlice, object.KindPod:
			return key.Namespace == name
		}
		return key.Kind == object.KindNamespace && key.Name == name
	})
	return nil
}

// take takes in the report of a look at some objects: those without a result have no findings any more.
func (a *Audit) take(ctx context.Context, report Report, looked func(object.Key) bool) {
	gone := maps.Clone(a.found)
	for _, s := range report.Results {
		delete(gone, s.Key)
		a.tell(ctx, s)
	}
	for key := range gone {
		if looked(key) {
			delete(a.found, key)
		}
	}
	unreachable, notes := withoutEndpoint(report.Services, a.unreachable)
	maps.DeleteFunc(a.unreachable, func(key object.Key, _ bool) bool { return looked(key) })
	maps.Copy(a.unreachable, unreachable)
	for _, namespace := range slices.Sorted(maps.Keys(notes)) {
		a.event(object.Key{Kind: object.KindNamespace, Name: namespace}, "", "NoLocalEndpoint", notes[namespace])
	}
}

// service judges a Service that is strict, or was found to leak before.
func (a *Audit) service(ctx context.Context, host hostname.Host) error {
	key := object.Key{Kind: object.KindService, Namespace: host.Namespace, Name: host.Name}
	match := a.Index.View().Match(host.FQDN(a.Index.Config().ClusterDomain))
	if _, found := a.found[key]; !found && !match.Has(policy.Strict) {
		return nil
	}
	var service corev1.Service
	err := a.Reader.Get(ctx, client.ObjectKey{Namespace: host.Namespace, Name: host.Name}, &service)
	if apierrors.IsNotFound(err) {
		delete(a.found, key)
		return nil
	}
	if err != nil {
		return fmt.Errorf("get Service %s/%s: %w", host.Namespace, host.Name, err)
	}
	result, err := a.Service(&service)
	if err == nil {
		a.tell(ctx, result)
	}
	return err
}

// publish counts what is found.
func (a *Audit) publish() {
	a.Metrics.Findings.Reset()
	for _, s := range a.found {
		for _, group := range s.ByOutcome() {
			for _, f := range group.Findings {
				a.Metrics.Findings.WithLabelValues(f.Rule, group.Outcome).Add(float64(1 + f.More))
			}
		}
	}
	a.Metrics.WithoutEndpoint.Set(float64(len(a.unreachable)))
}
