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
	"testing"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"
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

// serve sends a request and drops the answer, at as little cost of its own as can be.
func serve(tb testing.TB, h http.Handler, s scenario) {
	serveTo(tb, h, s, &httptest.ResponseRecorder{})
}

func serveTo(tb testing.TB, h http.Handler, s scenario, recorder *httptest.ResponseRecorder) {
	request, err := http.NewRequestWithContext(tb.Context(), http.MethodPost, s.path, bytes.NewReader(s.body))
	if err != nil {
		tb.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	h.ServeHTTP(recorder, request)
}

// check makes sure that a scenario is what its name says.
func check(tb testing.TB, name string, t *target, s scenario) {
	tb.Helper()
	recorder := httptest.NewRecorder()
	serveTo(tb, t.mux, s, recorder)
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(recorder.Body.Bytes(), &review); err != nil {
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
