// Package bench_test measures what admission costs beside a webhook that only reads the review and allows it.
// Everything goes through the HTTP handler.
package bench_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/admit"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/webhook"
)

const install = "meshfence-system"

// scenario is one request and the path that it is sent to.
type scenario struct {
	path string
	body []byte
	// want is the answer: allowed without a patch, allowed with one, or denied.
	want string
}

// target is a webhook server to measure.
type target struct {
	mux *http.ServeMux
	// floor only decodes the review.
	floor *admission.Webhook
}

func newTarget(tb testing.TB, services int) *target {
	tb.Helper()
	const text = `{apiVersion: config.meshfence.io/v1alpha1, kind: FenceConfig, controlPlane: {clusters: [m1c1]}, holds: [subset],
		scope: {default: strict, services: [{namespace: open, name: web, fence: none}]}}`
	rules := leak.Rules()
	config, err := policy.ParseConfig(policy.ConfigMapSource(install, leak.IDs(rules)), []byte(text))
	if err != nil {
		tb.Fatal(err)
	}
	index := policy.NewIndex(config)
	for _, namespace := range []string{"shop", "open"} {
		index.SetNamespace(namespace, nil)
	}
	for _, name := range []string{"reviews", "ratings"} {
		index.SetService(hostname.Host{Namespace: "shop", Name: name}, nil)
	}
	index.SetService(hostname.Host{Namespace: "open", Name: "web"}, nil)
	for i := range services {
		namespace := fmt.Sprintf("team-%d", i/100)
		if i%100 == 0 {
			index.SetNamespace(namespace, nil)
		}
		index.SetService(hostname.Host{Namespace: namespace, Name: fmt.Sprintf("service-%d", i%100)}, nil)
	}
	metrics, err := webhook.NewMetrics(prometheus.NewRegistry())
	if err != nil {
		tb.Fatal(err)
	}
	a, err := webhook.New(webhook.Options{
		Index: index, Rules: rules, InstallNamespace: install, Metrics: metrics,
		Reader: fake.NewClientBuilder().Build(), Synced: func() bool { return true },
	})
	if err != nil {
		tb.Fatal(err)
	}
	logf.SetLogger(logr.Discard())
	mutator := a.Mutator()
	t := &target{mux: http.NewServeMux()}
	t.mux.Handle(admit.MutatePath, mutator)
	t.mux.Handle(admit.ValidatePath, a.Validator())
	// The same logger, so that the difference is what admission itself does.
	t.floor = &admission.Webhook{LogConstructor: mutator.LogConstructor, Handler: admission.HandlerFunc(
		func(context.Context, admission.Request) admission.Response {
			return admission.Response{AdmissionResponse: admissionv1.AdmissionResponse{Allowed: true}}
		})}
	return t
}

func serve(h http.Handler, s scenario) *httptest.ResponseRecorder {
	request := httptest.NewRequest(http.MethodPost, s.path, bytes.NewReader(s.body))
	request.Header.Set("Content-Type", "application/json")
	recorder := httptest.NewRecorder()
	h.ServeHTTP(recorder, request)
	return recorder
}

// scenarios returns the requests for both kinds, and for each what has to be done: nothing, an edit, a refusal.
func scenarios(tb testing.TB) map[string]scenario {
	tb.Helper()
	return map[string]scenario{
		"DestinationRule/mutate-noop":   {admit.MutatePath, review(tb, "DestinationRule", destinationRule("open", "web", "v1")), "allowed"},
		"DestinationRule/mutate-edit":   {admit.MutatePath, review(tb, "DestinationRule", unfencedSubset()), "patched"},
		"DestinationRule/mutate-first":  {admit.MutatePath, review(tb, "DestinationRule", destinationRule("shop", "reviews", "v1")), "patched"},
		"DestinationRule/validate-noop": {admit.ValidatePath, review(tb, "DestinationRule", destinationRule("open", "web", "v1")), "allowed"},
		"DestinationRule/validate-deny": {admit.ValidatePath, review(tb, "DestinationRule", destinationRule("shop", "reviews", "v1")), "denied"},
		"VirtualService/mutate-noop":    {admit.MutatePath, review(tb, "VirtualService", virtualService("shop", "reviews", "meshfence-local")), "allowed"},
		"VirtualService/mutate-edit":    {admit.MutatePath, review(tb, "VirtualService", virtualService("shop", "reviews", "")), "patched"},
		"VirtualService/validate-noop":  {admit.ValidatePath, review(tb, "VirtualService", virtualService("shop", "reviews", "meshfence-local")), "allowed"},
		"VirtualService/validate-deny":  {admit.ValidatePath, review(tb, "VirtualService", virtualService("shop", "reviews", "meshfence-m1c2")), "denied"},
	}
}

// check makes sure that a scenario is what its name says.
func check(tb testing.TB, name string, t *target, s scenario) {
	tb.Helper()
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(serve(t.mux, s).Body.Bytes(), &review); err != nil {
		tb.Fatal(err)
	}
	got := "denied"
	if review.Response.Allowed {
		got = map[bool]string{false: "allowed", true: "patched"}[review.Response.Patch != nil]
	}
	if got != s.want {
		tb.Fatalf("%s is %s, want %s: %+v", name, got, s.want, review.Response.Result)
	}
}

func review(tb testing.TB, kind string, object map[string]any) []byte {
	tb.Helper()
	raw, err := json.Marshal(object)
	if err != nil {
		tb.Fatal(err)
	}
	if len(raw) < 6<<10 || len(raw) > 8<<10 {
		tb.Fatalf("%s has %d bytes, want about 7 kB", kind, len(raw))
	}
	route, ok := admit.KindFor("networking.istio.io", kind)
	if !ok {
		tb.Fatalf("no route for %s", kind)
	}
	metadata := object["metadata"].(map[string]any)
	body, err := json.Marshal(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
		Request: &admissionv1.AdmissionRequest{
			UID:       "5f1d2f3c-0000-4000-8000-000000000001",
			Kind:      metav1.GroupVersionKind{Group: route.Group, Version: "v1", Kind: kind},
			Resource:  metav1.GroupVersionResource{Group: route.Group, Version: "v1", Resource: route.Resource},
			Name:      metadata["name"].(string),
			Namespace: metadata["namespace"].(string),
			Operation: admissionv1.Create,
			UserInfo:  authenticationv1.UserInfo{Username: "someone", Groups: []string{"system:authenticated"}},
			Object:    runtime.RawExtension{Raw: raw},
		},
	})
	if err != nil {
		tb.Fatal(err)
	}
	return body
}

func metadata(namespace, name string) map[string]any {
	return map[string]any{
		"name": name, "namespace": namespace, "uid": "5f1d2f3c-0000-4000-8000-000000000002",
		"creationTimestamp": "2026-01-01T00:00:00Z",
		"labels":            map[string]any{"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "shop"},
		"annotations":       map[string]any{"description": strings.Repeat("what this object is for; ", 20)},
		"managedFields": []any{map[string]any{
			"manager": "kubectl-client-side-apply", "operation": "Update", "apiVersion": "networking.istio.io/v1", "fieldsType": "FieldsV1",
			"fieldsV1": map[string]any{"f:spec": map[string]any{".": map[string]any{}, "f:hosts": map[string]any{}, "f:http": map[string]any{}}},
		}},
	}
}

// destinationRule has ten subsets with settings of their own; where the host is fenced, none of it is yet.
func destinationRule(namespace, host, version string) map[string]any {
	policy := func() map[string]any {
		return map[string]any{
			"connectionPool": map[string]any{
				"tcp":  map[string]any{"maxConnections": 100, "connectTimeout": "30ms", "tcpKeepalive": map[string]any{"time": "7200s", "interval": "75s"}},
				"http": map[string]any{"http2MaxRequests": 1000, "maxRequestsPerConnection": 10, "maxRetries": 3, "idleTimeout": "30s"},
			},
			"loadBalancer":     map[string]any{"simple": "LEAST_REQUEST", "warmup": map[string]any{"duration": "30s", "aggression": 1.5}},
			"outlierDetection": map[string]any{"consecutive5xxErrors": 7, "interval": "30s", "baseEjectionTime": "60s", "maxEjectionPercent": 50},
			"tls":              map[string]any{"mode": "ISTIO_MUTUAL"},
		}
	}
	var subsets []any
	for i := range 10 {
		subsets = append(subsets, map[string]any{
			"name": fmt.Sprintf("%s-%d", version, i), "labels": map[string]any{"version": fmt.Sprintf("%s-%d", version, i)}, "trafficPolicy": policy(),
		})
	}
	return map[string]any{
		"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": metadata(namespace, host),
		"spec": map[string]any{"host": host, "trafficPolicy": policy(), "subsets": subsets},
	}
}

// unfencedSubset is a rule that was fenced, and then got one more subset.
func unfencedSubset() map[string]any {
	rule := destinationRule("shop", "reviews", "v1")
	subsets := rule["spec"].(map[string]any)["subsets"].([]any)
	for _, s := range subsets[:len(subsets)-1] {
		s.(map[string]any)["labels"].(map[string]any)[policy.ClusterLabel] = "m1c1"
	}
	rule["spec"].(map[string]any)["subsets"] = append(subsets, map[string]any{
		"name": policy.ReservedSubset, "labels": map[string]any{policy.ClusterLabel: "m1c1"},
	})
	return rule
}

// virtualService has twelve routes with matches, retries and headers, each with one destination, and one for each
// other protocol; only the last of the twelve has another subset than meshfence-local, so that an edit or a refusal is
// about one place.
func virtualService(namespace, host, subset string) map[string]any {
	local := []any{map[string]any{"destination": map[string]any{"host": host, "subset": policy.ReservedSubset}}}
	var routes []any
	for i := range 12 {
		destination := map[string]any{"host": host, "port": map[string]any{"number": 9080}, "subset": "meshfence-local"}
		if i == 11 {
			destination["subset"] = subset
			if subset == "" {
				delete(destination, "subset")
			}
		}
		routes = append(routes, map[string]any{
			"name": fmt.Sprintf("route-%d", i),
			"match": []any{
				map[string]any{"uri": map[string]any{"prefix": fmt.Sprintf("/api/v%d/reviews", i)}, "headers": map[string]any{"x-tenant": map[string]any{"exact": "a"}}},
				map[string]any{"uri": map[string]any{"regex": fmt.Sprintf(`^/legacy/%d/[a-z]+\.html$`, i)}},
			},
			"timeout": "1500ms",
			"retries": map[string]any{"attempts": 3, "perTryTimeout": "500ms", "retryOn": "gateway-error,connect-failure,refused-stream"},
			"headers": map[string]any{"request": map[string]any{"set": map[string]any{"x-route": fmt.Sprintf("route-%d", i), "x-forwarded-by": "mesh"}}},
			"route":   []any{map[string]any{"destination": destination, "weight": 100}},
		})
	}
	return map[string]any{
		"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": metadata(namespace, host),
		"spec": map[string]any{
			"hosts": []any{host}, "http": routes,
			"tls": []any{map[string]any{"match": []any{map[string]any{"sniHosts": []any{host}}}, "route": local}},
			"tcp": []any{map[string]any{"route": local}},
		},
	}
}
