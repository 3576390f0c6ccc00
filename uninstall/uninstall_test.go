package uninstall_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
	"github.com/meshfence/meshfence/uninstall"
	"github.com/meshfence/meshfence/webhook/certificate"
)

const (
	settle = 10 * time.Second
	// deployment runs no Pod any more; its ending ones are for the test on a real API server.
	deployment = `{apiVersion: apps/v1, kind: Deployment, metadata: {name: meshfence, namespace: meshfence-system}, spec: {replicas: 2, selector: {matchLabels: {app: meshfence}}}}`
	validating = `{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingWebhookConfiguration, metadata: {name: meshfence}}`
	mutating   = `{apiVersion: admissionregistration.k8s.io/v1, kind: MutatingWebhookConfiguration, metadata: {name: meshfence}}`
)

// bed is a cluster in memory with an installation and what it has written. After a number of writes the command is cut
// short.
type bed struct {
	client.Client

	start  time.Time
	writes []string
	left   int
	cut    context.CancelFunc
	refuse func(o client.Object) error
}

func newBed(t *testing.T) *bed {
	t.Helper()
	ours := map[string]string{"meshfence.io/cluster-local-hosts": `{"true":["reviews.shop.svc.cluster.local"],"created":true}`}
	var objects []client.Object
	for _, text := range []string{
		deployment, validating, mutating, fencedService, fencedNamespace, exemptService, labelledRule, ledRoute, ownRule, userNamed,
		with(companion, "DestinationRule", ""), with(companion, "VirtualService", ""), meshMap(t, meshText, ours),
	} {
		objects = append(objects, decode(t, text))
	}
	mapper := meta.NewDefaultRESTMapper([]schema.GroupVersion{kinds()[0].GroupVersion(), corev1.SchemeGroupVersion})
	known := runtime.NewScheme()
	if err := scheme.AddToScheme(known); err != nil {
		t.Fatal(err)
	}
	for _, gvk := range kinds() {
		mapper.Add(gvk, meta.RESTScopeNamespace)
		if !known.Recognizes(gvk) { // or the client adds it, while a page is read beside a write
			known.AddKnownTypeWithName(gvk, &unstructured.Unstructured{})
			known.AddKnownTypeWithName(gvk.GroupVersion().WithKind(gvk.Kind+"List"), &unstructured.UnstructuredList{})
		}
	}
	b := &bed{start: time.Now(), left: -1, cut: func() {}, refuse: func(client.Object) error { return nil }}
	store := fake.NewClientBuilder().WithScheme(known).WithRESTMapper(mapper).WithObjects(objects...).Build()
	b.Client = interceptor.NewClient(store, interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, options ...client.PatchOption) error {
			return b.write(ctx, "patch", o, func() error { return c.Patch(ctx, o, p, options...) })
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.DeleteOption) error {
			return b.write(ctx, "delete", o, func() error { return c.Delete(ctx, o, options...) })
		},
	})
	return b
}

func (b *bed) write(ctx context.Context, verb string, o client.Object, write func() error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := b.refuse(o); err != nil {
		return err
	}
	b.writes = append(b.writes, fmt.Sprintf("%v %s %s", time.Since(b.start), verb, nameOf(o)))
	if b.left--; b.left == 0 {
		defer b.cut()
	}
	return write()
}

// apply uninstalls, and is cut short after a number of writes; below zero never.
func (b *bed) apply(t *testing.T, writes int) (out string, err error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	b.cut, b.left = cancel, writes
	var text strings.Builder
	err = uninstall.New(uninstall.Options{
		Client: b,
		Install: certificate.WebhookConfigurations{
			Mutating: "meshfence", Validating: "meshfence", Service: client.ObjectKey{Namespace: "meshfence-system", Name: "meshfence"},
		},
		Config: &policy.Config{ClusterDomain: "cluster.local", IstioNamespace: "istio-system"},
		Settle: settle, Wait: time.Minute, Out: &text,
	}).Apply(ctx)
	return text.String(), err
}

// stored returns every object that may have something of meshfence, without its version.
func (b *bed) stored(t *testing.T) map[string]any {
	t.Helper()
	found := map[string]any{}
	for _, gvk := range kinds() {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(gvk)
		if err := b.List(t.Context(), list); err != nil {
			t.Fatal(err)
		}
		for i := range list.Items {
			o := &list.Items[i]
			o.SetResourceVersion("")
			found[nameOf(o)] = o.Object
		}
	}
	return found
}

// kinds are those that the test looks at.
func kinds() []schema.GroupVersionKind {
	istio := schema.GroupVersion{Group: "networking.istio.io", Version: "v1"}
	return []schema.GroupVersionKind{
		istio.WithKind(object.KindVirtualService), istio.WithKind(object.KindDestinationRule), corev1.SchemeGroupVersion.WithKind(object.KindService),
		corev1.SchemeGroupVersion.WithKind(object.KindNamespace), corev1.SchemeGroupVersion.WithKind(object.KindConfigMap),
	}
}

func nameOf(o client.Object) string {
	gvk, err := apiutil.GVKForObject(o, scheme.Scheme)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf("%s %s/%s", gvk.Kind, o.GetNamespace(), o.GetName())
}

// has reports whether an object names the reserved subset.
func has(t *testing.T, found map[string]any, name string) bool {
	t.Helper()
	text, err := json.Marshal(found[name])
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(text), policy.ReservedSubset)
}

// TestApply: nobody is called before anything is taken back, routes go before what they lead to, and what users wrote stays.
func TestApply(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		before := b.stored(t)
		if _, err := b.apply(t, -1); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{
			"0s delete ValidatingWebhookConfiguration /meshfence",
			"0s delete MutatingWebhookConfiguration /meshfence",
			"0s patch Deployment meshfence-system/meshfence",
			"0s delete VirtualService shop/ratings-meshfence",
			"0s patch VirtualService shop/reviews",
			"10s delete DestinationRule shop/ratings-meshfence",
			"10s patch DestinationRule shop/reviews",
			"10s patch ConfigMap istio-system/istio",
			"10s patch Service shop/reviews",
		}, b.writes); diff != "" {
			t.Errorf("writes (-want +got):\n%s", diff)
		}
		after := b.stored(t)
		for _, name := range []string{"DestinationRule shop/own", "DestinationRule shop/plain-meshfence", "Namespace /shop", "Service default/kubernetes"} {
			if diff := cmp.Diff(before[name], after[name]); diff != "" || after[name] == nil {
				t.Errorf("%s (-before +after):\n%s", name, diff)
			}
		}
	})
}

// TestApplyCutShort: after any write the command may be cut short. No route then leads to a subset that is gone, and a
// second run ends where an undisturbed one does.
func TestApplyCutShort(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		whole := newBed(t)
		if _, err := whole.apply(t, -1); err != nil {
			t.Fatal(err)
		}
		want := whole.stored(t)
		for n := 1; n < len(whole.writes); n++ {
			b := newBed(t)
			if _, err := b.apply(t, n); !errors.Is(err, context.Canceled) {
				t.Errorf("cut short after write %d: %v", n, err)
			}
			if len(b.writes) != n {
				t.Errorf("%d writes, want %d", len(b.writes), n)
			}
			if found := b.stored(t); has(t, found, "VirtualService shop/reviews") && !has(t, found, "DestinationRule shop/reviews") {
				t.Errorf("after write %d the route leads to a subset that is gone", n)
			}
			if _, err := b.apply(t, -1); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, b.stored(t)); diff != "" {
				t.Errorf("cut short after write %d, and again (-undisturbed +got):\n%s", n, diff)
			}
		}
	})
}

// TestApplyRefused: a route that cannot be written keeps the subset that it leads to; all else goes on.
func TestApplyRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		b.refuse = func(o client.Object) error {
			if nameOf(o) == "VirtualService shop/reviews" {
				return apierrors.NewForbidden(schema.GroupResource{Resource: "virtualservices"}, "reviews", errors.New("not yours"))
			}
			return nil
		}
		out, err := b.apply(t, -1)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out, "VirtualService shop/reviews") || !strings.Contains(out, "not yours") {
			t.Errorf("nothing is told of the refusal: %s", out)
		}
		if found := b.stored(t); !has(t, found, "DestinationRule shop/reviews") || found["DestinationRule shop/ratings-meshfence"] != nil {
			t.Errorf("writes %q", b.writes)
		}
		if !slices.ContainsFunc(b.writes, func(write string) bool { return strings.Contains(write, "Service shop/reviews") }) {
			t.Errorf("the Service keeps its labels: %q", b.writes)
		}
	})
}

// TestApplyLost: where the API server is gone, the command ends and says so.
func TestApplyLost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		gone := errors.New("connection refused")
		b.refuse = func(o client.Object) error {
			if nameOf(o) == "VirtualService shop/reviews" {
				return gone
			}
			return nil
		}
		if _, err := b.apply(t, -1); !errors.Is(err, gone) {
			t.Errorf("got %v", err)
		}
		if strings.Contains(strings.Join(b.writes, " "), "DestinationRule") {
			t.Errorf("it went on: %q", b.writes)
		}
	})
}
