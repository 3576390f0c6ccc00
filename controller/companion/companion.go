package companion

import (
	"context"
	"errors"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/meshfence/meshfence/controller/mesh"
	"github.com/meshfence/meshfence/controller/metric"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/admit"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/inject"
)

const (
	// yieldRetry is how often a leader that yields looks whether it still must.
	yieldRetry = 5 * time.Second
	// overtakenRetry is how soon a write is tried again that found another state than the index had, which is behind for
	// as long as a watch takes; overtakenTimes is how often that is no error.
	overtakenRetry = 200 * time.Millisecond
	overtakenTimes = 10
	// uncalledRetry is how soon a write is tried again that no replica answered.
	uncalledRetry = 5 * time.Second
)

// Options are what a Reconciler needs. All must be set.
type Options struct {
	Mesh *mesh.Mesh
	// Live reads past any cache what somebody else's object holds, of which the index keeps only what rules read. It is read
	// where that object has the name of a companion; all else about a Service comes from the index.
	Live   client.Reader
	Writer client.Client
	// Yields reports whether another installation of meshfence has the cluster.
	Yields   func() bool
	Recorder events.EventRecorder
	Metrics  *metric.Set
	// Settle is how long istiod and the proxies get to hear of a DestinationRule before routes lead to it, and of changed
	// routes before it goes.
	Settle time.Duration
}

// Reconciler makes, updates and removes the companions of Services.
type Reconciler struct {
	Options

	history history
	queue   requests
}

// New returns a reconciler for one term of leadership.
func New(o Options) *Reconciler {
	return &Reconciler{Options: o, history: history{hosts: map[hostname.Host]*past{}}}
}

// Reconcile brings the companions of one Service in line; a request without a name asks for all Services of
// a namespace, or of all namespaces.
func (r *Reconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	if request.Name == "" {
		r.expand(request.Namespace)
		return reconcile.Result{}, nil
	}
	if r.Yields() {
		return reconcile.Result{RequeueAfter: yieldRetry}, nil
	}
	host := hostname.Host{Namespace: request.Namespace, Name: request.Name}
	view := r.Mesh.Index.View()
	have, err := r.observe(host)
	if err != nil {
		return reconcile.Result{}, err
	}
	if have.Rule == nil && have.Route == nil && !fenced(view, host) {
		r.forget(host)
		return reconcile.Result{}, nil
	}
	uid := view.UID(host)
	if uid == "" && view.Exists(host) { // it is being deleted, or the index is told more of it in a moment
		return reconcile.Result{}, nil
	}
	want, ours := Wanted(host, have, view)
	if !ours {
		r.forget(host)
		return reconcile.Result{}, nil
	}
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: host.Namespace, Name: host.Name, UID: types.UID(uid)}}
	after, err := r.align(ctx, service, have, want, view.Speaks(host))
	return reconcile.Result{RequeueAfter: after}, err
}

func fenced(view *policy.View, host hostname.Host) bool {
	match := view.Match(host.FQDN(view.Config().ClusterDomain))
	return !match.Has(policy.None)
}

// expand asks for every Service that is fenced, named by the config or has companions.
func (r *Reconciler) expand(namespace string) {
	index := r.Mesh.Index
	hosts := slices.Concat(index.Fenced(namespace, policy.Prefer, policy.Strict), index.Config().Named(namespace))
	objects := r.Mesh.All()
	if namespace != "" {
		objects = index.View().Routing(namespace)
	}
	for _, o := range objects {
		if service, ok := inject.CompanionOf(o.Metadata.Name); ok && (namespace == "" || o.Metadata.Namespace == namespace) {
			hosts = append(hosts, hostname.Host{Namespace: o.Metadata.Namespace, Name: service})
		}
	}
	for _, host := range hosts {
		r.queue.Add(requestFor(host))
	}
}

func requestFor(host hostname.Host) reconcile.Request {
	return reconcile.Request{NamespacedName: client.ObjectKey{Namespace: host.Namespace, Name: host.Name}}
}

// align makes the companions of a Service, of which only the name and UID count, what they should be. The time returned is
// when to look again.
func (r *Reconciler) align(ctx context.Context, service *corev1.Service, have Observed, want inject.Companions, speaks policy.Speech) (time.Duration, error) {
	past := r.history.of(hostname.Host{Namespace: service.Namespace, Name: service.Name})
	state := State{Want: want, Have: have, Speaks: speaks, Past: past.Timers}
	if state.losesSubset() {
		host, _, _ := unstructured.NestedString(have.Rule.Object, "spec", "host")
		state.LedTo = len(r.Mesh.LeadTo(host)) > 0
	}
	plan := state.Plan(r.Settle, time.Now())
	past.Timers = plan.Past
	r.reportTaken(ctx, past, service, plan.Taken)
	r.reportLacking(ctx, past, service, plan.Lacking, have.Route != nil)
	if plan.Keeps {
		logf.FromContext(ctx).V(1).Info("rule keeps its subset while routes lead to it")
	}
	for _, w := range plan.Writes {
		after, err := r.write(ctx, past, w, service)
		if errors.Is(err, errNowhere) {
			return 0, nil
		}
		if past.overtaken(err) {
			logf.FromContext(ctx).V(1).Info("companion is not as it was seen last, and is looked at again", "kind", w.Kind, "reason", err.Error())
			return overtakenRetry, nil
		}
		if apierrors.IsInternalError(err) && admit.Uncalled(err.Error()) { // what probes the webhooks tells of it
			logf.FromContext(ctx).V(1).Info("no replica answers for the companion, and it is written again", "kind", w.Kind, "reason", err.Error())
			return uncalledRetry, nil
		}
		if after > 0 || err != nil {
			return after, err
		}
	}
	return plan.After, nil
}
