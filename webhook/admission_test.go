package webhook_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
	admissionmetrics "sigs.k8s.io/controller-runtime/pkg/webhook/admission/metrics"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/admit"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
	"github.com/meshfence/meshfence/test/fixtures"
	"github.com/meshfence/meshfence/webhook"
)

func TestBadRequests(t *testing.T) {
	t.Parallel()
	const asked = ": the webhook configuration must match the table of kinds"
	tests := map[string]struct {
		path   string
		change func(*admissionv1.AdmissionRequest)
		want   string
	}{
		"unknown kind": {admit.ValidatePath, func(r *admissionv1.AdmissionRequest) { r.Kind.Kind = "WasmPlugin" },
			`CREATE of kind "networking.istio.io/v1, Kind=WasmPlugin" and resource "virtualservices" is not for /validate` + asked},
		"unknown version": {admit.ValidatePath, func(r *admissionv1.AdmissionRequest) { r.Kind.Version, r.Resource.Version = "v2", "v2" },
			`CREATE of kind "networking.istio.io/v2, Kind=VirtualService" and resource "virtualservices" is not for /validate` + asked},
		"kind and resource disagree": {admit.MutatePath, func(r *admissionv1.AdmissionRequest) { r.Resource.Resource = "destinationrules" },
			`CREATE of kind "networking.istio.io/v1, Kind=VirtualService" and resource "destinationrules" is not for /mutate` + asked},
		"versions disagree": {admit.MutatePath, func(r *admissionv1.AdmissionRequest) { r.Resource.Version = "v1beta1" },
			`CREATE of kind "networking.istio.io/v1, Kind=VirtualService" and resource "virtualservices" is not for /mutate` + asked},
		"subresource": {admit.MutatePath, func(r *admissionv1.AdmissionRequest) { r.SubResource = "status" },
			`CREATE of kind "networking.istio.io/v1, Kind=VirtualService" and resource "virtualservices/status" is not for /mutate` + asked},
		"operation": {admit.MutatePath, func(r *admissionv1.AdmissionRequest) { r.Operation = admissionv1.Connect },
			`CONNECT of kind "networking.istio.io/v1, Kind=VirtualService" and resource "virtualservices" is not for /mutate` + asked},
		"kind of the other path": {admit.MutatePath, func(r *admissionv1.AdmissionRequest) {
			r.Kind.Kind, r.Resource.Resource = object.KindServiceEntry, "serviceentries"
		}, `CREATE of kind "networking.istio.io/v1, Kind=ServiceEntry" and resource "serviceentries" is not for /mutate` + asked},
		"no object": {admit.ValidatePath, func(r *admissionv1.AdmissionRequest) { r.Object = runtime.RawExtension{} },
			"CREATE VirtualService: object must not be empty"},
		"deletion of nothing": {admit.ValidatePath, func(r *admissionv1.AdmissionRequest) {
			r.Operation = admissionv1.Delete // what Object holds does not count
		}, "DELETE VirtualService: object must not be empty"},
		"deletion of null": {admit.ValidatePath, func(r *admissionv1.AdmissionRequest) {
			r.Operation, r.OldObject.Raw = admissionv1.Delete, []byte("null")
		}, "DELETE VirtualService: object must not be empty"},
		"deletion of a list": {admit.ValidatePath, func(r *admissionv1.AdmissionRequest) {
			r.Operation, r.OldObject.Raw = admissionv1.Delete, []byte("[]")
		}, "decode VirtualService: must be a mapping"},
		"deletion to be mutated": {admit.MutatePath, func(r *admissionv1.AdmissionRequest) {
			r.Operation, r.OldObject = admissionv1.Delete, r.Object
		}, `DELETE of kind "networking.istio.io/v1, Kind=VirtualService" and resource "virtualservices" is not for /mutate` + asked},
		"deletion of a kind that is free to go": {admit.ValidatePath, func(r *admissionv1.AdmissionRequest) {
			r.Operation, r.OldObject = admissionv1.Delete, r.Object
			r.Kind.Kind, r.Resource.Resource = object.KindGateway, "gateways"
		}, `DELETE of kind "networking.istio.io/v1, Kind=Gateway" and resource "gateways" is not for /validate` + asked},
		"null": {admit.MutatePath, func(r *admissionv1.AdmissionRequest) { r.Object.Raw = []byte("null") },
			"CREATE VirtualService: object must not be empty"},
		"a list": {admit.MutatePath, func(r *admissionv1.AdmissionRequest) { r.Object.Raw = []byte("[]") },
			"decode VirtualService: must be a mapping"},
		"wrong type": {admit.ValidatePath, func(r *admissionv1.AdmissionRequest) {
			r.Object.Raw = []byte(`{"spec":{"http":[{"route":[{"destination":{"host":"a","subset":["b"]}}]}]}}`)
		}, "decode VirtualService: spec.http[0].route[0].destination.subset: must be a string, not a list"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := request(t, virtualService("shop", "reviews", "", ""), "")
			test.change(r)
			response := serve(t, fenced).ask(t, test.path, r)
			assertRefused(t, response, http.StatusBadRequest, metav1.StatusReasonBadRequest, test.want)
		})
	}
}

// TestDelete: the object that goes is not judged as one that comes.
func TestDelete(t *testing.T) {
	t.Parallel()
	r := request(t, passthrough, "")
	if response := serve(t, fenced).ask(t, admit.ValidatePath, r); response.Allowed {
		t.Fatal("the object may be created")
	}
	r.Operation, r.OldObject, r.Object = admissionv1.Delete, r.Object, runtime.RawExtension{}
	if response := serve(t, fenced).ask(t, admit.ValidatePath, r); !response.Allowed || len(response.Warnings) > 0 {
		t.Errorf("it may not go: %+v, %v", response.Result, response.Warnings)
	}
}

func TestSubject(t *testing.T) {
	t.Parallel()
	a, err := webhook.New(webhook.Options{
		Index: policy.NewIndex(nil), Rules: leak.Rules(), InstallNamespace: install, Metrics: &webhook.Metrics{},
		Reader: &reader{}, Synced: func() bool { return true },
	})
	if err != nil {
		t.Fatal(err)
	}
	obj, old := runtime.RawExtension{Raw: []byte("new")}, runtime.RawExtension{Raw: []byte("old")}
	tests := map[string]struct {
		operation   admissionv1.Operation
		object, old runtime.RawExtension
		user        string
		want        admit.Request
	}{
		"creation": {admissionv1.Create, obj, runtime.RawExtension{}, "alice", admit.Request{Raw: obj.Raw, Writer: "alice"}},
		"change":   {admissionv1.Update, obj, old, "alice", admit.Request{Raw: obj.Raw, Old: old.Raw, Writer: "alice"}},
		"deletion": {admissionv1.Delete, runtime.RawExtension{}, old, "alice", admit.Request{Raw: old.Raw, Deleted: true, Writer: "alice"}},
		"own": {admissionv1.Create, obj, runtime.RawExtension{}, "system:serviceaccount:meshfence-system:meshfence",
			admit.Request{Raw: obj.Raw, Writer: "system:serviceaccount:meshfence-system:meshfence", Own: true}},
		"another account of the namespace": {admissionv1.Create, obj, runtime.RawExtension{}, "system:serviceaccount:meshfence-system:default",
			admit.Request{Raw: obj.Raw, Writer: "system:serviceaccount:meshfence-system:default"}},
		"an account of that name elsewhere": {admissionv1.Create, obj, runtime.RawExtension{}, "system:serviceaccount:shop:meshfence",
			admit.Request{Raw: obj.Raw, Writer: "system:serviceaccount:shop:meshfence"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := admission.Request{AdmissionRequest: admissionv1.AdmissionRequest{
				Kind: metav1.GroupVersionKind{Kind: object.KindService}, Namespace: "shop", Operation: test.operation, Object: test.object, OldObject: test.old,
			}}
			r.UserInfo.Username = test.user
			test.want.Kind, test.want.Namespace = object.KindService, "shop"
			if diff := cmp.Diff(test.want, a.Subject(r)); diff != "" {
				t.Errorf("subject (-want +got):\n%s", diff)
			}
		})
	}
}

// TestWriter: who asks counts for the rules.
func TestWriter(t *testing.T) {
	t.Parallel()
	const handWritten = `
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: x, namespace: shop, labels: {kubernetes.io/service-name: reviews}}
endpoints: [{addresses: [10.1.0.1]}]
`
	for writer, allowed := range map[string]bool{"alice": false, "system:serviceaccount:kube-system:endpointslice-controller": true} {
		r := request(t, handWritten, "")
		r.UserInfo.Username = writer
		response := serve(t, fenced).ask(t, admit.ValidatePath, r)
		if response.Allowed != allowed || !allowed && !strings.Contains(response.Result.Message, "in what alice writes") {
			t.Errorf("%s: allowed = %t, result %+v", writer, response.Allowed, response.Result)
		}
	}
}

func TestBadReviews(t *testing.T) {
	t.Parallel()
	const json = "application/json"
	tests := map[string]struct {
		contentType string
		body        []byte
		code        int32
		want        string
	}{
		"empty":        {json, nil, 400, "request body is empty"},
		"content type": {"application/yaml", []byte("{}"), 400, "contentType=application/yaml, expected application/json"},
		"too large":    {json, bytes.Repeat([]byte(" "), 33<<20), 413, "too large to be judged: the review has more than 33554432 bytes"},
		"no end":       {json, []byte("{"), 400, "decode the review: "},
		"no review":    {json, []byte("{}"), 400, `kind: "" must be AdmissionReview`},
		"a list":       {json, []byte("[]"), 400, "must be a mapping"},
		"wrong type":   {json, []byte(`{"kind": "AdmissionReview", "request": {"uid": 7}}`), 400, "decode the review: "},
		"wrong kind":   {json, []byte(`{"kind": 7}`), 400, "must be a string"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			response := serve(t, fenced).post(t, admit.MutatePath, test.contentType, test.body)
			if response.Allowed || response.Result.Code != test.code || !strings.Contains(response.Result.Message, test.want) {
				t.Errorf("allowed = %t, result = %+v", response.Allowed, response.Result)
			}
		})
	}
}

func TestNotReady(t *testing.T) {
	t.Parallel()
	c := serve(t, fenced)
	c.synced = false
	for _, path := range []string{admit.MutatePath, admit.ValidatePath} {
		response := c.ask(t, path, request(t, service("shop", "reviews", ""), ""))
		assertRefused(t, response, http.StatusInternalServerError, metav1.StatusReasonInternalError,
			"Internal error occurred: not ready: the Services and Namespaces of the cluster are still being read")
	}
	c.synced = true
	if response := c.ask(t, admit.MutatePath, request(t, service("shop", "reviews", ""), "")); !response.Allowed {
		t.Errorf("still refused: %+v", response.Result)
	}
}

func TestMissing(t *testing.T) {
	t.Parallel()
	c := serve(t, fenced)
	c.reader.objects = []metav1.PartialObjectMetadata{
		{TypeMeta: metav1.TypeMeta{Kind: object.KindNamespace},
			ObjectMeta: metav1.ObjectMeta{Name: "new", Labels: map[string]string{policy.FenceKey: "strict"}}},
		{TypeMeta: metav1.TypeMeta{Kind: object.KindService},
			ObjectMeta: metav1.ObjectMeta{Namespace: "new", Name: "loose", Annotations: map[string]string{policy.FenceKey: "none"}}},
	}
	assertUnpatched(t, c.ask(t, admit.MutatePath, request(t, destinationRule("new", "loose", "loose"), "")))
	if response := c.ask(t, admit.MutatePath, request(t, destinationRule("new", "tight", "tight"), "")); response.Patch == nil {
		t.Error("a Service without an annotation in a fenced Namespace is not fenced")
	}
	want := []string{"Namespace /new", "Namespace /new", "Service new/loose", "Service new/tight"}
	if diff := cmp.Diff(want, c.reader.asked()); diff != "" {
		t.Errorf("asked for (-want +got):\n%s", diff)
	}
}

// A class that no informer has told of yet is asked for before an Ingress or a route counts as Istio's.
func TestMissingClass(t *testing.T) {
	t.Parallel()
	c := serve(t, fenced)
	gateway := schema.GroupVersionKind{Group: "gateway.networking.k8s.io", Version: "v1", Kind: "Gateway"}
	class := schema.GroupVersionKind{Group: gateway.Group, Version: "v1", Kind: object.KindGatewayClass}
	c.reader.stored = []unstructured.Unstructured{
		*fixtures.Unstructured(t, schema.GroupVersionKind{Group: "networking.k8s.io", Version: "v1", Kind: object.KindIngressClass},
			"{metadata: {name: public}, spec: {controller: k8s.io/ingress-nginx}}"),
		*fixtures.Unstructured(t, gateway, "{metadata: {name: front, namespace: infra}, spec: {gatewayClassName: lb}}"),
		*fixtures.Unstructured(t, class, "{metadata: {name: lb}, spec: {controllerName: example.com/lb}}"),
	}
	ingress := func(class string) string {
		return "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: it, namespace: shop}\n" +
			"spec: {ingressClassName: " + class + ", defaultBackend: {service: {name: reviews}}}\n"
	}
	route := func(gateway string) string {
		return "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: it, namespace: shop}\n" +
			"spec: {parentRefs: [{name: " + gateway + ", namespace: infra}], rules: [{backendRefs: [{name: reviews}]}]}\n"
	}
	for object, want := range map[string]bool{ingress("public"): true, ingress("gone"): false, route("front"): true, route("gone"): false} {
		if response := c.ask(t, admit.ValidatePath, request(t, object, "")); response.Allowed != want {
			t.Errorf("allowed %t, want %t: %s\n%+v", response.Allowed, want, object, response.Result)
		}
	}
	want := []string{"Gateway infra/front", "Gateway infra/gone", "GatewayClass /lb", "IngressClass /gone", "IngressClass /public"}
	asked := slices.DeleteFunc(c.reader.asked(), func(name string) bool { return strings.HasPrefix(name, "Service ") })
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("asked for (-want +got):\n%s", diff)
	}
}

func TestMissingCannotBeRead(t *testing.T) {
	t.Parallel()
	c := serve(t, fenced)
	c.reader.err = errors.New("connection refused")
	response := c.ask(t, admit.ValidatePath, request(t, destinationRule("shop", "new", "new"), ""))
	assertRefused(t, response, http.StatusInternalServerError, metav1.StatusReasonInternalError,
		"Internal error occurred: get Service shop/new: connection refused")
}

// What cannot be judged is refused only where something could be: not under audit and warn, unless a Namespace enforces.
func TestNotJudged(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		enforcement, namespace string
		want                   bool
	}{
		"enforce":                            {"enforce", "", false},
		"enforce, and a Namespace audits":    {"enforce", "audit", false},
		"warn":                               {"warn", "", true},
		"audit":                              {"audit", "", true},
		"audit, and some Namespace enforces": {"audit", "enforce", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := serve(t, fenced+"enforcement: "+test.enforcement+"\n")
			c.index.SetNamespace("other", map[string]string{policy.EnforcementLabel: test.namespace})
			c.reader.err = errors.New("connection refused")
			for _, path := range []string{admit.MutatePath, admit.ValidatePath} {
				response := c.ask(t, path, request(t, destinationRule("shop", "new", "new"), ""))
				if response.Allowed != test.want {
					t.Errorf("%s: allowed is %t, want %t: %+v", path, response.Allowed, test.want, response.Result)
				}
				const warning = "meshfence has not judged this: Internal error occurred: get Service shop/new: connection refused"
				if test.want && !slices.Equal(response.Warnings, []string{warning}) {
					t.Errorf("%s: warnings %q", path, response.Warnings)
				}
			}
			empty := request(t, destinationRule("shop", "new", "new"), "")
			empty.Object.Raw = nil
			if response := c.ask(t, admit.ValidatePath, empty); response.Allowed {
				t.Error("a bad request passes")
			}
			c.synced = false // which Namespaces enforce is not known
			if response := c.ask(t, admit.ValidatePath, request(t, destinationRule("shop", "new", "new"), "")); response.Allowed {
				t.Error("a request passes before the cluster has been read")
			}
		})
	}
}

// Names of the internet look like names of Services in other namespaces; the cluster is not asked for them.
func TestOutsideIsNotMissing(t *testing.T) {
	t.Parallel()
	c := serve(t, fenced)
	response := c.ask(t, admit.ValidatePath, request(t, "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\n"+
		"metadata: {name: x, namespace: shop}\nspec: {hosts: [example.com, api.example.com, www.example.svc]}\n", ""))
	if !response.Allowed {
		t.Errorf("refused: %+v", response.Result)
	}
	if asked := c.reader.asked(); len(asked) > 0 {
		t.Errorf("asked for %v", asked)
	}
}

func TestMissingIsBounded(t *testing.T) {
	t.Parallel()
	c := serve(t, strings.Replace(fenced, "strict", "prefer", 1))
	many := func(n int) *admissionv1.AdmissionRequest {
		var routes strings.Builder
		for i := range n {
			fmt.Fprintf(&routes, "  - route: [{destination: {host: new-%d}}]\n", i)
		}
		return request(t, "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: x, namespace: shop}\n"+
			"spec:\n  hosts: [x.example.com]\n  http:\n"+routes.String(), "")
	}
	if response := c.ask(t, admit.MutatePath, many(128)); !response.Allowed {
		t.Errorf("128 are refused: %+v", response.Result)
	}
	response := c.ask(t, admit.MutatePath, many(129))
	assertRefused(t, response, http.StatusInternalServerError, metav1.StatusReasonInternalError,
		"Internal error occurred: the object names more than 128 objects that are not known yet")
	if got := len(c.reader.asked()); got != 128 {
		t.Errorf("%d questions, want the 128 of the first request", got)
	}
}

func TestPanic(t *testing.T) {
	c := serve(t, fenced)
	before := testutil.ToFloat64(admissionmetrics.WebhookPanics)
	c.reader.panics = true
	response := c.ask(t, admit.ValidatePath, request(t, destinationRule("shop", "new", "new"), ""))
	if response.Allowed || response.Result.Code != http.StatusInternalServerError || !strings.Contains(response.Result.Message, "panic") {
		t.Errorf("allowed = %t, result = %+v", response.Allowed, response.Result)
	}
	if got := testutil.ToFloat64(admissionmetrics.WebhookPanics) - before; got != 1 {
		t.Errorf("%v panics counted, want 1", got)
	}
	c.reader.panics = false
	if response := c.ask(t, admit.MutatePath, request(t, service("shop", "reviews", ""), "")); !response.Allowed {
		t.Errorf("refused after a panic: %+v", response.Result)
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	c := serve(t, fenced)
	c.ask(t, admit.MutatePath, request(t, service("default", "web", ""), ""))
	c.ask(t, admit.MutatePath, request(t, service("shop", "reviews", ""), service("shop", "reviews", "")))
	c.ask(t, admit.ValidatePath, request(t, passthrough, ""))
	odd := request(t, passthrough, "")
	odd.Kind.Kind, odd.Operation = "Odd", "ODD"
	c.ask(t, admit.ValidatePath, odd)
	c.reader.panics = true
	c.ask(t, admit.ValidatePath, request(t, destinationRule("shop", "new", "new"), ""))
	const want = `
# HELP meshfence_admission_requests_total Admission requests by what became of them.
# TYPE meshfence_admission_requests_total counter
meshfence_admission_requests_total{kind="DestinationRule",operation="CREATE",outcome="denied",path="/validate"} 1
meshfence_admission_requests_total{kind="DestinationRule",operation="CREATE",outcome="error",path="/validate"} 1
meshfence_admission_requests_total{kind="Service",operation="CREATE",outcome="allowed",path="/mutate"} 1
meshfence_admission_requests_total{kind="Service",operation="UPDATE",outcome="patched",path="/mutate"} 1
meshfence_admission_requests_total{kind="other",operation="other",outcome="bad_request",path="/validate"} 1
# HELP meshfence_findings_total Findings in admitted and refused objects by what became of them.
# TYPE meshfence_findings_total counter
meshfence_findings_total{outcome="denied",rule="destinationrule-passthrough"} 2
`
	names := []string{"meshfence_admission_requests_total", "meshfence_findings_total"}
	if err := testutil.GatherAndCompare(c.registry, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
	if n, err := testutil.GatherAndCount(c.registry, "meshfence_admission_duration_seconds"); err != nil || n != 3 {
		t.Errorf("%d duration series (%v), want 3", n, err)
	}
}

func TestNewNeedsOptions(t *testing.T) {
	t.Parallel()
	_, err := webhook.New(webhook.Options{Rules: leak.Rules()})
	const want = "admission options: Index must be set\nInstallNamespace must be set\nMetrics must be set\nReader must be set\nSynced must be set"
	if err == nil || err.Error() != want {
		t.Errorf("error = %v, want %s", err, want)
	}
}

func assertRefused(t *testing.T, response *admissionv1.AdmissionResponse, code int32, reason metav1.StatusReason, message string) {
	t.Helper()
	got := response.Result
	if response.Allowed || got == nil || got.Code != code || got.Reason != reason || got.Message != message {
		t.Errorf("allowed = %t, result = %+v;\nwant %d %s %q", response.Allowed, got, code, reason, message)
	}
}
