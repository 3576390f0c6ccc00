package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/controller"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// backfilled is how many Services, DestinationRules and VirtualServices exist before meshfence does: 201 objects.
const backfilled = 67

// makeOld creates Services in a namespace, each with a DestinationRule and a VirtualService, while no replica runs.
func (b *leaderBed) makeOld(t *testing.T, namespace string, services int) {
	t.Helper()
	for i := range services {
		name := fmt.Sprintf("svc-%02d", i)
		b.makeService(t, namespace, name)
		b.makeRules(t, namespace, name)
	}
}

func (b *leaderBed) makeService(t *testing.T, namespace, name string) {
	t.Helper()
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": name},
			Ports:    []corev1.ServicePort{{Name: "http", Port: 80}},
		},
	}
	if err := b.Create(t.Context(), service); err != nil {
		t.Fatal(err)
	}
}

// makeRules creates the DestinationRule and the VirtualService of a Service.
func (b *leaderBed) makeRules(t *testing.T, namespace, name string) {
	t.Helper()
	rule, route := istio(object.KindDestinationRule, namespace, name), istio(object.KindVirtualService, namespace, name)
	rule.Object["spec"] = map[string]any{
		"host": name, "subsets": []any{map[string]any{"name": "v1", "labels": map[string]any{"version": "v1"}}},
	}
	route.Object["spec"] = map[string]any{"hosts": []any{name}, "http": []any{
		map[string]any{"route": []any{map[string]any{"destination": map[string]any{"host": name}}}},
	}}
	for _, o := range []client.Object{rule, route} {
		if err := b.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
}

// inLine counts the objects of a namespace that are as admission would store them, by kind.
func (b *leaderBed) inLine(ctx context.Context, namespace string) (map[string]int, error) {
	counts := map[string]int{}
	var services corev1.ServiceList
	if err := b.List(ctx, &services, client.InNamespace(namespace)); err != nil {
		return nil, err
	}
	for _, s := range services.Items {
		if s.Labels[policy.FencedLabel] == "strict" {
			counts["Service"]++
		}
	}
	// What comes later is listed earlier, so that what is written meanwhile does not look like another order.
	for _, kind := range []string{object.KindVirtualService, object.KindDestinationRule} {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(istio(kind, "", "").GroupVersionKind())
		if err := b.List(ctx, list, client.InNamespace(namespace)); err != nil {
			return nil, err
		}
		for i := range list.Items {
			if mustHold(&list.Items[i], policy.ReservedSubset) == nil && !strings.HasSuffix(list.Items[i].GetName(), "-meshfence") {
				counts[kind]++
			}
		}
	}
	return counts, nil
}

// allInLine returns nil where n objects of each kind are in line.
func (b *leaderBed) allInLine(ctx context.Context, namespace string, n int) error {
	counts, err := b.inLine(ctx, namespace)
	if err != nil {
		return err
	}
	for _, kind := range []string{object.KindService, object.KindDestinationRule, object.KindVirtualService} {
		if counts[kind] != n {
			return fmt.Errorf("%v of %d are in line", counts, n)
		}
	}
	return nil
}

func (l *leader) backfill(t *testing.T, state string) int {
	t.Helper()
	return int(l.metric(t, "meshfence_backfill_objects", state))
}

// TestBackfill brings 201 old objects in line at 25 a second, with another leader half-way.
func TestBackfill(t *testing.T) {
	const strictConfig = subsetConfig + "scope: {namespaces: [{name: %s, fence: strict}]}\n"
	b := newLeaderBed(t, subsetConfig)
	namespace := b.CreateNamespace(t, nil)
	b.makeOld(t, namespace, backfilled)
	b.configure(t, fmt.Sprintf(strictConfig, namespace))

	const rate = 25
	start := time.Now()
	first := b.lead(t, controller.Options{BackfillRate: rate, Settle: 100 * time.Millisecond})
	eventually(t, "some VirtualServices are in line", func(ctx context.Context) error {
		counts, err := b.inLine(ctx, namespace)
		if err != nil {
			return err
		}
		if counts[object.KindVirtualService] == 0 {
			return fmt.Errorf("%v are in line", counts)
		}
		// Services get their labels whenever the proxies need time to hear of something else.
		if counts[object.KindDestinationRule] != backfilled || counts[object.KindService] == backfilled {
			t.Errorf("%v are in line, but DestinationRules come first and most Services last", counts)
		}
		return nil
	})
	if pending := first.backfill(t, "pending"); pending == 0 {
		t.Error("nothing is pending half-way")
	}
	done := first.backfill(t, "done")
	first.stop(t)

	second := b.lead(t, controller.Options{BackfillRate: rate, Settle: 100 * time.Millisecond})
	eventually(t, "everything is in line", func(ctx context.Context) error { return b.allInLine(ctx, namespace, backfilled) })
	if took, least := time.Since(start), time.Duration(3*backfilled-10)*time.Second/rate; took < least {
		t.Errorf("it took %v, which is faster than the limit allows: %v", took, least)
	}
	eventually(t, "the metrics say so", func(context.Context) error {
		if left := second.backfill(t, "pending") + second.backfill(t, "failed") + second.backfill(t, "skipped"); left > 0 {
			return fmt.Errorf("%d are left", left)
		}
		return nil
	})
	// One write may have been under way when the first replica stopped.
	if total := done + second.backfill(t, "done"); total < 3*backfilled-2 || total > 3*backfilled+1 {
		t.Errorf("%d and then %d were written, want %d in all", done, second.backfill(t, "done"), 3*backfilled)
	}
}

// TestBackfillTakesBack removes the fence again: routes first, then the subsets that they led to.
func TestBackfillTakesBack(t *testing.T) {
	b := newLeaderBed(t, subsetConfig)
	namespace := b.CreateNamespace(t, nil)
	b.configure(t, fmt.Sprintf("%sscope: {namespaces: [{name: %s, fence: strict}]}\n", subsetConfig, namespace))
	l := b.lead(t, controller.Options{BackfillRate: 5, Settle: time.Millisecond})
	b.makeOld(t, namespace, 3)
	if err := b.allInLine(t.Context(), namespace, 3); err != nil {
		t.Fatalf("admission: %v", err)
	}
	b.configure(t, subsetConfig)
	eventually(t, "everything is as it was", func(ctx context.Context) error {
		counts, err := b.inLine(ctx, namespace)
		if err == nil && len(counts) > 0 {
			err = fmt.Errorf("%v still fenced", counts)
		}
		if counts[object.KindDestinationRule] < counts[object.KindVirtualService] {
			t.Fatalf("%v: routes lead to subsets that are gone", counts)
		}
		return err
	})
	if l.backfill(t, "failed") != 0 {
		t.Error("some failed")
	}
}

// TestBackfillAppendsRoutes has a VirtualService that takes a Service over for one namespace and sends no request to it:
// what it lacks is appended behind the DestinationRule, and taken back.
func TestBackfillAppendsRoutes(t *testing.T) {
	b := newLeaderBed(t, subsetConfig)
	namespace := b.CreateNamespace(t, nil)
	b.apply(t, namespace, `
apiVersion: v1
kind: Service
metadata: {name: svc-00}
spec: {selector: {app: svc-00}, ports: [{name: http, port: 80}, {name: tcp, port: 90}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: closed}
spec: {hosts: [svc-00], exportTo: ["."], http: [{directResponse: {status: 503}}]}
`)
	route, rule := istio(object.KindVirtualService, namespace, "closed"), istio(object.KindDestinationRule, namespace, "svc-00-meshfence")
	if err := b.read(t.Context(), route); err != nil {
		t.Fatal(err)
	}
	before := route.DeepCopy()
	first := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "first", Annotations: map[string]string{policy.FenceKey: "strict"}},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
	}
	if err := b.Create(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	b.lead(t, controller.Options{BackfillRate: 1000, Settle: time.Millisecond})
	eventually(t, "the pass over everything has looked at all", func(ctx context.Context) error {
		if err := b.read(ctx, first); err != nil || first.Labels[policy.FencedLabel] == "" {
			return errors.Join(fmt.Errorf("labels %v", first.Labels), err)
		}
		return nil
	})
	fence := func(value string) {
		t.Helper()
		service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "svc-00"}}
		patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, policy.FenceKey, value)
		eventually(t, "the Service is "+value, func(ctx context.Context) error {
			return b.Patch(ctx, service, client.RawPatch("application/merge-patch+json", []byte(patch)))
		})
	}
	fence("strict")
	eventually(t, "the routes stand", func(ctx context.Context) error {
		if err := errors.Join(b.read(ctx, route), mustHold(route, policy.ReservedSubset)); err != nil {
			return err
		}
		if err := errors.Join(b.read(ctx, rule), mustHold(rule, policy.ReservedSubset)); err != nil {
			t.Fatalf("routes lead to a subset that is not there: %v", err)
		}
		return nil
	})
	fence("none")
	eventually(t, "the routes are gone, and then the rule", func(ctx context.Context) error {
		err := b.gone(ctx, rule)
		if err := b.read(ctx, route); err != nil {
			return err
		}
		if err != nil {
			return err
		}
		if diff := cmp.Diff(before.Object["spec"], route.Object["spec"]); diff != "" || len(route.GetAnnotations()) != len(before.GetAnnotations()) {
			t.Fatalf("annotations %v, spec (-want +got):\n%s", route.GetAnnotations(), diff)
		}
		return nil
	})
}

// TestBackfillTakesWhatOthersOwn has objects that Argo CD and Flux apply. Nothing shows in managedFields afterwards, so
// that their next apply meets no conflict.
func TestBackfillTakesWhatOthersOwn(t *testing.T) {
	const manifests = `
apiVersion: v1
kind: Service
metadata: {name: argo, annotations: {"argocd.argoproj.io/tracking-id": "shop:/Service:shop/argo"}}
spec: {selector: {app: argo}, ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: argo, labels: {argocd.argoproj.io/instance: shop}}
spec: {host: argo}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: argo, labels: {kustomize.toolkit.fluxcd.io/name: shop}}
spec: {hosts: [argo], http: [{route: [{destination: {host: argo}}]}]}
`
	b := newLeaderBed(t, subsetConfig)
	namespace := b.CreateNamespace(t, nil)
	b.apply(t, namespace, manifests)
	b.configure(t, fmt.Sprintf("%sscope: {namespaces: [{name: %s, fence: strict}]}\n", subsetConfig, namespace))
	b.lead(t, controller.Options{BackfillRate: 1000, Settle: time.Millisecond})
	eventually(t, "all are in line", func(ctx context.Context) error { return b.allInLine(ctx, namespace, 1) })
	for _, o := range []client.Object{
		&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "argo"}},
		istio(object.KindDestinationRule, namespace, "argo"), istio(object.KindVirtualService, namespace, "argo"),
	} {
		if err := b.read(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		for _, entry := range o.GetManagedFields() {
			if strings.HasPrefix(entry.Manager, "meshfence") {
				t.Errorf("%T: managedFields have an entry of %s", o, entry.Manager)
			}
		}
	}
}

// refusal lets nobody write to an object with the label refuse.
const refusal = `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: refuse}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
    - {apiGroups: [networking.istio.io], apiVersions: ["*"], resources: [destinationrules, virtualservices], operations: [UPDATE]}
    - {apiGroups: [""], apiVersions: [v1], resources: [services], operations: [UPDATE]}
  validations: [{expression: "!has(object.metadata.labels) || !('refuse' in object.metadata.labels)", message: nobody writes to this object}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: refuse}
spec: {policyName: refuse, validationActions: [Deny]}
`

// refuseLabelled has the API server refuse writes to objects with the label refuse; there is one.
func (b *leaderBed) refuseLabelled(t *testing.T, labelled client.Object) {
	t.Helper()
	if err := b.Cluster.Apply(t.Context(), refusal); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The context of the test has ended by now.
		if _, _, err := b.Kubectl(context.Background(), refusal, "delete", "-f", "-"); err != nil {
			t.Error(err)
		}
	})
	eventually(t, "the policy is in force", func(ctx context.Context) error {
		probe, ok := labelled.DeepCopyObject().(client.Object)
		if !ok {
			return fmt.Errorf("%T is no object", labelled)
		}
		if err := b.Patch(ctx, probe, client.RawPatch("application/merge-patch+json", []byte("{}"))); err == nil {
			return errors.New("the write was not refused")
		}
		return nil
	})
}

// TestBackfillIsRefused has an object that another webhook refuses.
func TestBackfillIsRefused(t *testing.T) {
	b := newLeaderBed(t, subsetConfig)
	namespace := b.CreateNamespace(t, nil)
	b.makeOld(t, namespace, 2)
	bad := istio(object.KindDestinationRule, namespace, "svc-00")
	if err := b.read(t.Context(), bad); err != nil {
		t.Fatal(err)
	}
	bad.SetLabels(map[string]string{"refuse": "yes"})
	if err := b.Update(t.Context(), bad); err != nil {
		t.Fatal(err)
	}
	b.refuseLabelled(t, bad)
	b.configure(t, fmt.Sprintf("%sscope: {namespaces: [{name: %s, fence: strict}]}\n", subsetConfig, namespace))
	l := b.lead(t, controller.Options{BackfillRate: 1000, Settle: time.Millisecond})
	eventually(t, "the refusal is recorded", func(ctx context.Context) error {
		if failed := l.backfill(t, "failed"); failed != 1 {
			return fmt.Errorf("%d failed, want 1", failed)
		}
		return b.event(ctx, "BackfillFailed", object.KindDestinationRule)
	})
	eventually(t, "the others are in line, but for the route that needs the refused object", func(ctx context.Context) error {
		counts, err := b.inLine(ctx, namespace)
		if err == nil && (counts[object.KindService] != 2 || counts[object.KindDestinationRule] != 1 || counts[object.KindVirtualService] != 1) {
			err = fmt.Errorf("%v are in line", counts)
		}
		return err
	})
	if skipped := l.backfill(t, "skipped"); skipped != 1 {
		t.Errorf("%d are skipped, want the one route", skipped)
	}
}

// TestBackfillLeavesExemptNamespacesAlone has a DestinationRule in an exempt namespace for a strict host.
func TestBackfillLeavesExemptNamespacesAlone(t *testing.T) {
	b := newLeaderBed(t, subsetConfig)
	namespace, exempt := b.CreateNamespace(t, nil), b.CreateNamespace(t, nil)
	b.makeOld(t, namespace, 1)
	b.apply(t, exempt, fmt.Sprintf(`
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: old}
spec: {host: svc-00.%s.svc.cluster.local}
`, namespace))
	b.configure(t, fmt.Sprintf("%sscope: {namespaces: [{name: %s, fence: strict}], exemptNamespaces: [%s]}\n", subsetConfig, namespace, exempt))
	l := b.lead(t, controller.Options{BackfillRate: 1000, Settle: time.Millisecond})
	eventually(t, "the others are in line", func(ctx context.Context) error { return b.allInLine(ctx, namespace, 1) })
	old := istio(object.KindDestinationRule, exempt, "old")
	if err := b.read(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	if old.GetGeneration() != 1 || l.backfill(t, "done") != 3 {
		t.Errorf("generation %d after %d writes, want 1 after 3", old.GetGeneration(), l.backfill(t, "done"))
	}
}

// TestBackfillMendsWhatAdmissionMissed has objects that are written while the API server calls no webhook.
func TestBackfillMendsWhatAdmissionMissed(t *testing.T) {
	b := newLeaderBed(t, subsetConfig)
	namespace := b.CreateNamespace(t, map[string]string{policy.FenceKey: "strict"})
	l := b.lead(t, controller.Options{BackfillRate: 1000, Settle: time.Millisecond})
	// Nothing about the Service changes afterwards that would make the backfill look.
	b.makeService(t, namespace, "svc-00")
	eventually(t, "the companions stand", func(ctx context.Context) error {
		return b.read(ctx, istio(object.KindVirtualService, namespace, "svc-00-meshfence"))
	})
	for _, kind := range []string{"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"} {
		webhooks := istio(kind, "", "fence-leader")
		webhooks.SetAPIVersion("admissionregistration.k8s.io/v1")
		if err := b.Delete(t.Context(), webhooks); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the API server calls no webhook", func(ctx context.Context) error {
		probe := istio(object.KindDestinationRule, namespace, "probe")
		probe.Object["spec"] = map[string]any{"host": "probe"}
		if err := b.Create(ctx, probe, client.DryRunAll); err != nil {
			return err
		}
		if mustHold(probe, policy.ReservedSubset) == nil {
			return errors.New("it does")
		}
		return nil
	})
	b.makeRules(t, namespace, "svc-00")
	eventually(t, "the backfill has seen them", func(context.Context) error {
		if pending := l.backfill(t, "pending"); pending == 0 {
			return errors.New("nothing is pending")
		}
		return nil
	})
	newLeaderWebhooks(t, b)
	eventually(t, "everything is in line", func(ctx context.Context) error { return b.allInLine(ctx, namespace, 1) })
}
