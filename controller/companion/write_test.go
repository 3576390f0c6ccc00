package companion_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/meshfence/meshfence/policy/object"
	"github.com/meshfence/meshfence/test/fakecluster"
)

// TestTakeBack: an object with a companion's name becomes the companion and keeps what is not ours, also what it held. It
// belongs to nobody, so that it can be given back when its Service goes.
func TestTakeBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, subsetConfig, reviews, "{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: reviews-meshfence, namespace: shop, "+
			"labels: {istio.io/rev: canary, team: a}, annotations: {note: b, meshfence.io/replaced: old}}, spec: {host: ratings}}")
		if _, _, err := b.rest(t); err != nil {
			t.Fatal(err)
		}
		rule := b.Get(t, fakecluster.Kinds().Rule, "shop", "reviews-meshfence")
		got := map[string]any{"labels": rule.GetLabels(), "annotations": rule.GetAnnotations(), "owners": rule.GetOwnerReferences(), "spec": rule.Object["spec"]}
		want := map[string]any{
			"labels": map[string]string{"app.kubernetes.io/managed-by": "meshfence", "team": "a"},
			"annotations": map[string]string{
				"note": "b", "meshfence.io/replaced": `{"host":"ratings"}`,
				"galley.istio.io/analyze-suppress": "IST0173", "meshfence.io/injected": `{"analyzeSuppress":true}`,
			},
			"owners": []metav1.OwnerReference(nil),
			"spec": map[string]any{
				"exportTo": []any{"*"}, "host": "reviews.shop.svc.cluster.local",
				"subsets": []any{map[string]any{"name": "meshfence-local", "labels": map[string]any{"topology.istio.io/cluster": "m1c1"}}},
			},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("companion (-want +got):\n%s", diff)
		}
	})
}

// TestGiveBack: an object that was made a companion is what it was when none is wanted any more.
func TestGiveBack(t *testing.T) {
	t.Parallel()
	for name, gone := range map[string]func(*testing.T, *bed){
		"the Service is not fenced any more": func(t *testing.T, b *bed) { t.Helper(); b.Put(t, unfenced) },
		"the Service is gone": func(t *testing.T, b *bed) {
			t.Helper()
			b.Remove(t, corev1.SchemeGroupVersion.WithKind(object.KindService), "shop", "reviews")
		},
		"a user's rule takes its place": func(t *testing.T, b *bed) { t.Helper(); b.Put(t, userRule) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBed(t, subsetConfig, reviews, "{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: reviews-meshfence, namespace: shop, "+
					"labels: {team: a}, annotations: {note: b}}, spec: {host: ratings}}")
				if _, _, err := b.rest(t); err != nil {
					t.Fatal(err)
				}
				gone(t, b)
				if _, _, err := b.rest(t); err != nil {
					t.Fatal(err)
				}
				rule := b.Get(t, fakecluster.Kinds().Rule, "shop", "reviews-meshfence")
				want := map[string]any{"labels": map[string]any{"team": "a"}, "annotations": map[string]any{"note": "b"}, "spec": map[string]any{"host": "ratings"}}
				metadata, _ := rule.Object["metadata"].(map[string]any)
				got := map[string]any{"labels": metadata["labels"], "annotations": metadata["annotations"], "spec": rule.Object["spec"]}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				if writes, _, err := b.rest(t); len(writes) > 0 || err != nil {
					t.Errorf("then writes %v, error %v; want none", writes, err)
				}
			})
		})
	}
}

// TestOvertaken: a write that comes upon another state than was seen is no error, unless it does so for ever.
func TestOvertaken(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		times int
		fails bool
	}{"once": {1, false}, "for ever": {1000, true}} {
		for what, overtaken := range map[string]error{
			"it exists by now":  apierrors.NewAlreadyExists(corev1.Resource("any"), "reviews-meshfence"),
			"it changed by now": apierrors.NewConflict(corev1.Resource("any"), "reviews-meshfence", errors.New("changed")),
		} {
			t.Run(what+", "+name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					b, left := newBed(t, subsetConfig, reviews), test.times
					b.FailBy(func(string, client.Object) error {
						if left--; left < 0 {
							return nil
						}
						return overtaken
					})
					var failed error
					for range 20 {
						result, err := b.reconciler.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKey{Namespace: "shop", Name: "reviews"}})
						if err != nil {
							failed = err
						}
						time.Sleep(result.RequeueAfter)
					}
					if (failed != nil) != test.fails || (len(b.Writes()) == 0) != test.fails {
						t.Errorf("error %v", failed)
					}
				})
			})
		}
	}
}

// TestNamedNamespaceIsNotHere: the config may name a Service of a Namespace that this cluster does not have.
func TestNamedNamespaceIsNotHere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, subsetConfig+"scope: {services: [{namespace: shop, name: reviews, fence: strict}]}\n")
		b.FailBy(func(string, client.Object) error { return apierrors.NewNotFound(corev1.Resource("namespaces"), "shop") })
		if writes, events, err := b.rest(t); writes != nil || events != nil || err != nil {
			t.Errorf("writes %v, Events %v, error %v; want none", writes, events, err)
		}
	})
}

// TestChangedAgain: a companion that another webhook changes is told of again after it was stored as it should be.
func TestChangedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, subsetConfig, reviews)
		change := func(u *unstructured.Unstructured) error {
			return unstructured.SetNestedField(u.Object, "changed", "spec", "host")
		}
		leave := func(*unstructured.Unstructured) error { return nil }
		for i, step := range []struct {
			admit func(*unstructured.Unstructured) error
			want  []string
		}{{change, []string{"CompanionChanged"}}, {leave, nil}, {change, []string{"CompanionChanged"}}} {
			b.AdmitBy(step.admit)
			if i == 2 {
				time.Sleep(time.Hour) // that it is no contest
				b.Remove(t, fakecluster.Kinds().Rule, "shop", "reviews-meshfence")
			}
			_, events, _ := b.rest(t)
			if diff := cmp.Diff(step.want, events); diff != "" {
				t.Errorf("step %d: Events (-want +got):\n%s", i, diff)
			}
		}
	})
}

// TestDeleteFails: a companion that cannot be deleted is an error, and one that has gone is not.
func TestDeleteFails(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ err, want error }{
		"gone":     {apierrors.NewNotFound(corev1.Resource("any"), "reviews-meshfence"), nil},
		"conflict": {errors.New("no"), errors.New("delete VirtualService: no")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBed(t, subsetConfig, reviews)
				if _, _, err := b.rest(t); err != nil {
					t.Fatal(err)
				}
				b.Put(t, unfenced)
				b.FailBy(func(string, client.Object) error {
					if apierrors.IsNotFound(test.err) {
						b.FailBy(nil)
						b.Remove(t, fakecluster.Kinds().Route, "shop", "reviews-meshfence")
					}
					return test.err
				})
				_, _, err := b.rest(t)
				if (err == nil) != (test.want == nil) || err != nil && err.Error() != test.want.Error() {
					t.Errorf("error %v, want %v", err, test.want)
				}
			})
		})
	}
}
