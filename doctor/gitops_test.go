package doctor_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/yaml"

	"github.com/meshfence/meshfence/doctor"
	"github.com/meshfence/meshfence/policy"
)

// gitRule and storedRule are a DestinationRule in Git and as admission stores it with hold subset alone.
const (
	gitRule    = `{host: reviews, subsets: [{name: v1, labels: {version: v1}}], trafficPolicy: {connectionPool: {tcp: {maxConnections: 100}}}}`
	storedRule = `{host: reviews, subsets: [{name: v1, labels: {version: v1, topology.istio.io/cluster: m1c1}}, {name: meshfence-local}], trafficPolicy: {connectionPool: {tcp: {maxConnections: 100}}}}`
)

// tracked returns an object of Argo CD.
func tracked(t *testing.T, kind, name, git, stored string) *unstructured.Unstructured {
	t.Helper()
	parse := func(text string) map[string]any {
		t.Helper()
		data, err := yaml.YAMLToJSON([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		o := &unstructured.Unstructured{}
		if err := o.UnmarshalJSON([]byte(`{"kind": "any", "spec": ` + string(data) + `}`)); err != nil {
			t.Fatal(err)
		}
		return o.Object["spec"].(map[string]any)
	}
	last, err := json.Marshal(map[string]any{"spec": parse(git)})
	if err != nil {
		t.Fatal(err)
	}
	o := &unstructured.Unstructured{Object: map[string]any{"spec": parse(stored)}}
	o.SetGroupVersionKind(schema.GroupVersionKind{Group: "networking.istio.io", Version: "v1", Kind: kind})
	o.SetNamespace("shop")
	o.SetName(name)
	o.SetAnnotations(map[string]string{
		"argocd.argoproj.io/tracking-id":   "shop:networking.istio.io/" + kind + ":shop/" + name,
		corev1.LastAppliedConfigAnnotation: string(last),
		policy.InjectedAnnotation:          "{}",
	})
	return o
}

// application says that Argo CD has a rule with a status.
func application(name, status string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{"status": map[string]any{"resources": []any{
		map[string]any{"kind": "DestinationRule", "namespace": "shop", "name": name, "status": status},
	}}}}
	o.SetGroupVersionKind(schema.GroupVersionKind{Group: "argoproj.io", Version: "v1alpha1", Kind: "Application"})
	o.SetNamespace("argocd")
	o.SetName("shop")
	return o
}

func without(o *unstructured.Unstructured, annotation string) *unstructured.Unstructured {
	annotations := o.GetAnnotations()
	delete(annotations, annotation)
	o.SetAnnotations(annotations)
	return o
}

// TestSeeGitOps: what Argo CD sees in an object is what its own code sees, by the table of docs/gitops.md.
func TestSeeGitOps(t *testing.T) {
	t.Parallel()
	const tracking = "argocd.argoproj.io/tracking-id"
	written := without(tracked(t, "DestinationRule", "reviews", gitRule, storedRule), tracking)
	written.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: "argocd-controller", Operation: "Update", APIVersion: "networking.istio.io/v1", FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1("{}")}})
	for name, test := range map[string]struct {
		object *unstructured.Unstructured
		want   []string
	}{
		"a subset that is added": {tracked(t, "DestinationRule", "reviews", gitRule, storedRule), []string{"DestinationRule shop/reviews (spec.subsets)"}},
		"known by who wrote it":  {written, []string{"DestinationRule shop/reviews (spec.subsets)"}},
		"a route that is added": {tracked(t, "VirtualService", "reviews", `{http: [{match: [{port: 1}]}]}`, `{http: [{match: [{port: 1}]}, {route: [{}]}]}`),
			[]string{"VirtualService shop/reviews (spec.http)"}},
		"a value that is replaced": {tracked(t, "DestinationRule", "reviews", `{host: a, trafficPolicy: {loadBalancer: {distribute: [{from: a}]}}}`, `{host: a, trafficPolicy: {loadBalancer: {distribute: [{from: b}]}}}`),
			[]string{"DestinationRule shop/reviews (spec.trafficPolicy.loadBalancer.distribute[0].from)"}},
		"keys alone":                {tracked(t, "DestinationRule", "reviews", `{host: a, trafficPolicy: {}}`, `{host: a, trafficPolicy: {tls: {}}, subsets: [{name: meshfence-local}]}`), nil},
		"Git says it, too":          {tracked(t, "DestinationRule", "reviews", storedRule, storedRule), nil},
		"admission has not been at": {without(tracked(t, "DestinationRule", "reviews", gitRule, storedRule), policy.InjectedAnnotation), nil},
		"nobody's":                  {without(tracked(t, "DestinationRule", "reviews", gitRule, storedRule), tracking), nil},
		"applied on the server":     {without(tracked(t, "DestinationRule", "reviews", gitRule, storedRule), corev1.LastAppliedConfigAnnotation), nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seeGitOps(t, doctor.GitOps{Drifted: test.want}, &meta.NoKindMatchError{}, test.object)
		})
	}
	drifted := tracked(t, "DestinationRule", "reviews", gitRule, storedRule)
	seeGitOps(t, doctor.GitOps{Judged: true}, nil, drifted, application("reviews", "Synced"))
	seeGitOps(t, doctor.GitOps{Judged: true, Drifted: []string{"DestinationRule shop/reviews (spec.subsets)"}}, nil, drifted, application("reviews", "OutOfSync"))
	seeGitOps(t, doctor.GitOps{Drifted: []string{"DestinationRule shop/reviews (spec.subsets)"}}, apierrors.NewForbidden(schema.GroupResource{}, "", nil), drifted)
}

// seeGitOps looks at objects, where Applications can be listed unless there is an error.
func seeGitOps(t *testing.T, want doctor.GitOps, noApplications error, objects ...client.Object) {
	t.Helper()
	lists := interceptor.Funcs{List: func(ctx context.Context, api client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
		kind := list.GetObjectKind().GroupVersionKind().Kind
		switch {
		case kind == "ApplicationList" && noApplications != nil:
			return noApplications
		case !strings.HasPrefix(kind, objects[0].GetObjectKind().GroupVersionKind().Kind) && kind != "ApplicationList":
			return &meta.NoKindMatchError{}
		}
		return api.List(ctx, list, options...)
	}}
	o := doctor.Observer{Client: fake.NewClientBuilder().WithReturnManagedFields().WithObjects(objects...).WithInterceptorFuncs(lists).Build()}
	got, err := o.SeeGitOps(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
