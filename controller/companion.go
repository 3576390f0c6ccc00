package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/inject"
)

// companions makes, updates and removes the companions of Services.
type companions struct {
	*mesh
	live     client.Reader // past any cache
	writer   client.Client
	yields   func() bool
	recorder events.EventRecorder
	metrics  *metrics
	settle   time.Duration
	history  history
	queue    requests
}

func newCompanions(r *runner, m *mesh) *companions {
	return &companions{
		mesh:     m,
		live:     r.mgr.GetAPIReader(),
		writer:   r.writer,
		yields:   r.Yields,
		recorder: r.recorder,
		metrics:  r.metrics,
		settle:   r.Settle,
		history:  history{hosts: map[hostname.Host]*past{}},
	}
}

// Reconcile brings the companions of one Service in line; a request without a name stands for all Services of
// a namespace, or of all namespaces.
func (c *companions) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	if request.Name == "" {
		return reconcile.Result{}, c.expand(ctx, request.Namespace)
	}
	if c.yields() {
		return reconcile.Result{RequeueAfter: yieldRetry}, nil
	}
	host := hostname.Host{Namespace: request.Namespace, Name: request.Name}
	view := c.index.View()
	stands, err := c.standing(ctx, host, view.Config().ClusterDomain)
	if err != nil {
		return reconcile.Result{}, err
	}
	if stands.rule == nil && stands.route == nil && !fenced(view, host) {
		c.forget(host)
		return reconcile.Result{}, nil
	}
	var service corev1.Service
	if err := c.live.Get(ctx, request.NamespacedName, &service); err != nil {
		if apierrors.IsNotFound(err) {
			after, err := c.absent(ctx, host, stands, view)
			return reconcile.Result{RequeueAfter: after}, err
		}
		return reconcile.Result{}, fmt.Errorf("get Service: %w", err)
	}
	if service.DeletionTimestamp != nil {
		return reconcile.Result{}, nil
	}
	var want inject.Companions
	if service.Spec.Type != corev1.ServiceTypeExternalName {
		view.LoadService(host, service.Annotations)
		want = inject.CompanionsOf(host, service.Spec.Ports, view)
	}
	if want.RuleStays && stands.rule != nil {
		want.Rule = asItStands(stands.rule, want.Rule)
	}
	after, err := c.align(ctx, &service, stands, want)
	return reconcile.Result{RequeueAfter: after}, err
}

// asItStands returns what a companion holds, with the subsets that are wanted.
func asItStands(u *unstructured.Unstructured, want *inject.Companion) *inject.Companion {
	spec, _, _ := unstructured.NestedMap(u.Object, "spec")
	if want != nil {
		spec["subsets"] = want.Spec["subsets"]
	}
	return &inject.Companion{Annotations: u.GetAnnotations(), Spec: spec}
}

func fenced(view *policy.View, host hostname.Host) bool {
	match := view.Match(host.FQDN(view.Config().ClusterDomain))
	return !match.Has(policy.None)
}

// expand asks for every Service that is fenced, named by the config or has companions.
func (c *companions) expand(ctx context.Context, namespace string) error {
	for _, host := range slices.Concat(c.index.Fenced(namespace, policy.Prefer, policy.Strict), c.index.Config().Named(namespace)) {
		c.queue.Add(requestFor(host))
	}
	for _, gvk := range []schema.GroupVersionKind{c.rule, c.route} {
		objects, err := c.list(ctx, gvk, namespace)
		if err != nil {
			return err
		}
		for i := range objects {
			if service, ok := inject.CompanionOf(objects[i].GetName()); ok {
				c.queue.Add(requestFor(hostname.Host{Namespace: objects[i].GetNamespace(), Name: service}))
			}
		}
	}
	return nil
}

func requestFor(host hostname.Host) reconcile.Request {
	return reconcile.Request{NamespacedName: client.ObjectKey{Namespace: host.Namespace, Name: host.Name}}
}

// standing is what the cache holds for one Service.
type standing struct {
	// rule and route are its companions.
	rule, route *unstructured.Unstructured
	// userRule and userRoute say that a person's object takes the place of a companion.
	userRule, userRoute bool
	// userSections are the sections in which such VirtualServices have routes of their own.
	userSections []string
	// userRules are the DestinationRules that do, as they are stored.
	userRules []storedRule
	// taken lists the kinds in which somebody else's object has the companion's name and another host.
	taken []schema.GroupVersionKind
}

func (c *companions) standing(ctx context.Context, host hostname.Host, domain string) (standing, error) {
	var s standing
	fqdn, name := host.FQDN(domain), inject.CompanionName(host.Name)
	for _, kind := range []struct {
		gvk    schema.GroupVersionKind
		own    **unstructured.Unstructured
		user   *bool
		claims func(*unstructured.Unstructured, string) bool
	}{{c.rule, &s.rule, &s.userRule, c.rules}, {c.route, &s.route, &s.userRoute, c.routes}} {
		named := objectOf(kind.gvk)
		err := c.objects.Get(ctx, client.ObjectKey{Namespace: host.Namespace, Name: name}, named)
		switch {
		case apierrors.IsNotFound(err):
		case err != nil:
			return s, fmt.Errorf("get cached %s: %w", kind.gvk.Kind, err)
		case isCompanion(named):
			*kind.own = named
		case !kind.claims(named, fqdn):
			s.taken = append(s.taken, kind.gvk)
		}
		objects, err := c.list(ctx, kind.gvk, host.Namespace, client.MatchingFields{byName: host.Name})
		if err != nil {
			return s, err
		}
		for i := range objects {
			own := objects[i].GetName() == name && isCompanion(&objects[i])
			if own || !kind.claims(&objects[i], fqdn) {
				continue
			}
			*kind.user = true
			if kind.gvk == c.rule {
				s.userRules = append(s.userRules, storedRule{objects[i].GetName(), c.hasReserved(&objects[i])})
			} else {
				s.userSections = append(s.userSections, values(&objects[i], sectionsField)...)
			}
		}
	}
	return s, nil
}

// align makes the companions what they should be. Routes never lead to a rule that the proxies do not know:
// the rule comes first and goes last, each with time to settle, and a route waits for as long as the rule that stands
// lacks its subset. The time returned is when to look again.
func (c *companions) align(ctx context.Context, service *corev1.Service, stands standing, want inject.Companions) (time.Duration, error) {
	host := hostname.Host{Namespace: service.Namespace, Name: service.Name}
	if stands.userRule {
		want.Rule = nil
	}
	if stands.userRoute && want.Route != nil {
		want.Route = want.Route.Beside(stands.userSections, service.Spec.Ports)
	}
	c.report(ctx, service, stands, want)
	past := c.history.of(host)
	if want.Route == nil && stands.route != nil {
		if after, err := c.remove(ctx, past, stands.route, service); after > 0 || err != nil {
			return after, err
		}
	}
	wait := past.wait(want, stands, c.settle, time.Now())
	if !stands.userRule && loses(stands.rule, want.Rule) {
		routes, err := c.reserves(ctx, c.ruleHost(stands.rule))
		if wait > 0 || err != nil || len(routes) > 0 {
			logf.FromContext(ctx).V(1).Info("rule keeps its subset while routes lead to it", "routes", len(routes))
			return wait, err // a change of those routes asks again
		}
	}
	rules := stands.userRules
	var after time.Duration
	var err error
	if want.Rule != nil {
		after, err = c.keep(ctx, past, c.rule, stands, stands.rule, want.Rule, service)
		rules = []storedRule{{inject.CompanionName(service.Name), want.Rule.Spec["subsets"] != nil}}
	} else if stands.rule != nil {
		after, err = c.remove(ctx, past, stands.rule, service)
	}
	if after > 0 || err != nil {
		return after, err
	}
	lacking := ""
	if want.Route != nil {
		lacking = lacksReserved(rules)
	}
	c.awaits(ctx, service, lacking, stands.route != nil)
	switch {
	case lacking != "" && stands.route == nil:
		past.wanted = time.Time{} // once the subset is there, it gets time to settle
		return 0, nil             // a change of the rule asks again
	case want.Route == nil || wait > 0:
		return wait, nil
	}
	return c.keep(ctx, past, c.route, stands, stands.route, want.Route, service)
}

// loses says that a rule stands that has subsets and is not to have any.
func loses(rule *unstructured.Unstructured, want *inject.Companion) bool {
	if rule == nil {
		return false
	}
	has, _, _ := unstructured.NestedSlice(rule.Object, "spec", "subsets")
	return len(has) > 0 && (want == nil || want.Spec["subsets"] == nil)
}

// errChanged says that something between us and the store does not leave companions as they are.
var errChanged = errors.New("another admission webhook changes the companion")

// replacedAnnotation keeps, in JSON, the spec of an object that had taken the name of a companion.
const replacedAnnotation = "meshfence.io/replaced"

// maxReplaced bounds what it keeps: the API server takes 256 KiB of annotations.
const maxReplaced = 128 << 10

// takeBack returns the object that has taken the name of a companion, to be made one: nobody else may have the name.
// What it held stays in an annotation.
func (c *companions) takeBack(ctx context.Context, gvk schema.GroupVersionKind, service *corev1.Service) (*unstructured.Unstructured, error) {
	u := objectOf(gvk)
	err := c.live.Get(ctx, client.ObjectKey{Namespace: service.Namespace, Name: inject.CompanionName(service.Name)}, u)
	if apierrors.IsNotFound(err) {
		return nil, nil // it is gone by now
	}
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", gvk.Kind, err)
	}
	spec, err := json.Marshal(u.Object["spec"])
	if err != nil || len(spec) > maxReplaced {
		spec = nil
	}
	annotations := u.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	if annotations[replacedAnnotation] = string(spec); spec == nil {
		delete(annotations, replacedAnnotation)
	}
	u.SetAnnotations(annotations)
	return u, nil
}

// keep makes one companion equal to what it should be, also where somebody else has taken its name. The time returned is
// how long to wait where somebody else keeps changing it.
func (c *companions) keep(ctx context.Context, past *past, gvk schema.GroupVersionKind, stands standing, old *unstructured.Unstructured, want *inject.Companion, service *corev1.Service) (time.Duration, error) {
	if old == nil && slices.Contains(stands.taken, gvk) {
		var err error
		if old, err = c.takeBack(ctx, gvk, service); err != nil {
			return 0, err
		}
	}
	u, action := objectOf(gvk), actionCreate
	if old != nil {
		u, action = old.DeepCopy(), actionUpdate
	}
	owners := c.owners(service)
	fill(u, want, service, owners)
	write := c.writer.Create
	if old != nil {
		if equality.Semantic.DeepEqual(u.Object, old.Object) {
			return 0, nil
		}
		write = func(ctx context.Context, o client.Object, _ ...client.CreateOption) error {
			return c.writer.Update(ctx, o)
		}
	}
	what := fmt.Sprint(want.Annotations, want.Spec) // maps are printed in the order of their keys
	if wait := past.contest(gvk).Wait(what, time.Now()); wait > 0 {
		return wait, nil
	}
	err := write(ctx, u)
	nowhere := service.UID == "" && old == nil && apierrors.IsNotFound(err) // the config names a Namespace that is not here
	if nowhere || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return 0, nil
	} else if err != nil {
		return 0, fmt.Errorf("%s %s: %w", action, gvk.Kind, err)
	}
	c.wrote(ctx, past, gvk, action, what, service)
	stored := u.DeepCopy()
	fill(stored, want, service, owners)
	if !equality.Semantic.DeepEqual(u.Object, stored.Object) {
		c.changed(past, gvk, service)
		return 0, fmt.Errorf("%s %s: %w", action, gvk.Kind, errChanged)
	}
	delete(past.changed, gvk)
	return 0, nil
}

// changed tells, once, that a companion comes back from a write as another one.
func (c *companions) changed(past *past, gvk schema.GroupVersionKind, service *corev1.Service) {
	if past.changed[gvk] {
		return
	}
	put(&past.changed, gvk, true)
	c.recorder.Eventf(service, nil, corev1.EventTypeWarning, "CompanionChanged", "MakeCompanion",
		"another admission webhook changes the %s %s on its way to the store, so that the fence may not hold: let it leave alone what has the label %s: %s",
		gvk.Kind, inject.CompanionName(service.Name), inject.ManagedByLabel, inject.ManagedBy)
}

// wrote counts a write, and tells when it shows that somebody else writes the companion too.
func (c *companions) wrote(ctx context.Context, past *past, gvk schema.GroupVersionKind, action, what string, service *corev1.Service) {
	c.metrics.companionWrites.WithLabelValues(gvk.Kind, action).Inc()
	logf.FromContext(ctx).Info("companion written", "kind", gvk.Kind, "action", action)
	if !past.contest(gvk).Wrote(what, time.Now()) {
		return
	}
	name := inject.CompanionName(service.Name)
	logf.FromContext(ctx).Info("somebody else keeps changing a companion, which is written ever more slowly", "kind", gvk.Kind, "name", name)
	c.metrics.contested.WithLabelValues(gvk.Kind).Inc()
	c.recorder.Eventf(service, nil, corev1.EventTypeWarning, "CompanionContested", "MakeCompanion",
		"somebody else keeps changing the %s %s, such as another installation of meshfence: remove what does", gvk.Kind, name)
}

// fill writes what is ours into an object and leaves the rest.
func fill(u *unstructured.Unstructured, want *inject.Companion, service *corev1.Service, owners []metav1.OwnerReference) {
	u.SetNamespace(service.Namespace)
	u.SetName(inject.CompanionName(service.Name))
	labels := u.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	labels[inject.ManagedByLabel] = inject.ManagedBy
	delete(labels, "istio.io/rev") // every revision must read it (row B14)
	u.SetLabels(labels)
	annotations := u.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	for _, key := range inject.OwnAnnotations() {
		delete(annotations, key)
		if value, ok := want.Annotations[key]; ok {
			annotations[key] = value
		}
	}
	if len(annotations) == 0 {
		annotations = nil
	}
	u.SetAnnotations(annotations)
	u.SetOwnerReferences(owners)
	u.Object["spec"] = runtime.DeepCopyJSON(want.Spec)
}

// remove deletes a companion, unless it is another one by now. The time returned is as that of keep.
func (c *companions) remove(ctx context.Context, past *past, u *unstructured.Unstructured, service *corev1.Service) (time.Duration, error) {
	gvk := u.GroupVersionKind()
	if wait := past.contest(gvk).Wait(actionDelete, time.Now()); wait > 0 {
		return wait, nil
	}
	doomed := objectOf(gvk)
	doomed.SetNamespace(u.GetNamespace())
	doomed.SetName(u.GetName())
	version, uid := u.GetResourceVersion(), u.GetUID()
	err := c.writer.Delete(ctx, doomed, client.Preconditions{UID: &uid, ResourceVersion: &version})
	if apierrors.IsNotFound(err) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("delete %s: %w", u.GetKind(), err)
	}
	c.wrote(ctx, past, gvk, actionDelete, actionDelete, service)
	return 0, nil
}
