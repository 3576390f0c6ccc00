package neighbours_test

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"

	"github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"github.com/argoproj/argo-rollouts/rollout/trafficrouting/istio"
	"github.com/argoproj/argo-rollouts/utils/record"
)

// rolloutHosts splits between two Services, rolloutSubsets between two subsets of one.
const (
	rolloutHosts = `apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {selector: {app: reviews}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: reviews-stable}
spec: {selector: {app: reviews, track: stable}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: reviews-canary}
spec: {selector: {app: reviews, track: canary}, ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - name: primary
    route:
    - {destination: {host: reviews-stable}, weight: 100}
    - {destination: {host: reviews-canary}, weight: 0}
`
	rolloutSubsets = `apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {selector: {app: reviews}, ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  subsets:
  - {name: stable, labels: {app: reviews}}
  - {name: canary, labels: {app: reviews}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - name: primary
    route:
    - {destination: {host: reviews, subset: stable}, weight: 100}
    - {destination: {host: reviews, subset: canary}, weight: 0}
`
)

// rolloutBesideTCP is rolloutHosts with a Service that has a TCP port, too.
var rolloutBesideTCP = strings.Replace(rolloutHosts, "port: 80}]}", "port: 80}, {name: tcp-admin, port: 9000}]}", 1)

func rolloutRows() []row {
	return []row{
		{"Argo Rollouts, two Services", func(t *testing.T, b *bed) string { return b.rollout(t, rolloutHosts, nil) }, always("80/20, again: 0 writes, changed: none")},
		// What hold subset needs for the TCP port is in the companion: Rollouts would take a route for it for a split of its own.
		{"Argo Rollouts, a TCP port beside", func(t *testing.T, b *bed) string { return b.rollout(t, rolloutBesideTCP, nil) }, always("80/20, again: 0 writes, changed: none")},
		{"Argo Rollouts, two subsets", func(t *testing.T, b *bed) string {
			return b.rollout(t, rolloutSubsets, &v1alpha1.IstioDestinationRule{Name: "reviews", StableSubsetName: "stable", CanarySubsetName: "canary"})
			// It takes the subset meshfence-local out of what it sends, to no effect.
		}, alone("80/20, again: 1 writes, changed: none", "80/20, again: 0 writes, changed: none")},
	}
}

// rollout sets a weight of 20 for the canary, reconciles once more, and says which weights are stored, and what the
// second time wrote and changed.
func (b *bed) rollout(t *testing.T, manifests string, rule *v1alpha1.IstioDestinationRule) string {
	t.Helper()
	namespace := b.strictNamespace(t)
	if err := b.Apply(t.Context(), manifests, "-n", namespace); err != nil {
		return err.Error()
	}
	canary := &v1alpha1.CanaryStrategy{TrafficRouting: &v1alpha1.RolloutTrafficRouting{Istio: &v1alpha1.IstioTrafficRouting{
		VirtualService: &v1alpha1.IstioVirtualService{Name: "reviews"}, DestinationRule: rule,
	}}}
	if rule == nil {
		canary.StableService, canary.CanaryService = "reviews-stable", "reviews-canary"
	}
	rollout := &v1alpha1.Rollout{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "reviews"},
		Spec:       v1alpha1.RolloutSpec{Strategy: v1alpha1.RolloutStrategy{Canary: canary}},
	}
	config, writes := b.counting()
	reconciler := istio.NewReconciler(rollout, dynamic.NewForConfigOrDie(config), record.NewFakeEventRecorder(), nil, nil, nil)
	reconcile := func() error {
		if err := reconciler.UpdateHash("5676c75cf4", "8c5c5b7f6"); err != nil {
			return fmt.Errorf("UpdateHash: %w", err)
		}
		return reconciler.SetWeight(20)
	}
	if err := reconcile(); err != nil {
		return err.Error()
	}
	set := objects(t, namespace, manifests)
	b.settled(t, set)
	first, before := writes.Load(), b.versions(t, set)
	if err := reconcile(); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%s, again: %d writes, changed: %s", weights(t, b.live(t, set[len(set)-1])), writes.Load()-first, changed(before, b.versions(t, set)))
}

// weights returns the weights of the first HTTP route of a VirtualService.
func weights(t *testing.T, o *unstructured.Unstructured) string {
	t.Helper()
	routes, _, err := unstructured.NestedSlice(o.Object, "spec", "http")
	if err != nil || len(routes) == 0 {
		t.Fatalf("no HTTP routes: %v %v", o.Object, err)
	}
	destinations, _, err := unstructured.NestedSlice(routes[0].(map[string]any), "route")
	if err != nil || len(destinations) != 2 {
		t.Fatalf("%d destinations, want 2: %v", len(destinations), err)
	}
	return fmt.Sprintf("%v/%v", destinations[0].(map[string]any)["weight"], destinations[1].(map[string]any)["weight"])
}
