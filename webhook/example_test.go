package webhook_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
	"github.com/meshfence/meshfence/webhook"
)

// A review comes in by HTTP, and goes out with a cause for each finding.
func Example() {
	config, err := policy.ParseConfig(policy.Source{File: "fenceconfig.yaml"}, []byte(fenced))
	if err != nil {
		fmt.Println(err)
		return
	}
	index := policy.NewIndex(config)
	index.SetNamespace("shop", nil)
	index.SetService(hostname.Host{Namespace: "shop", Name: "reviews"}, nil)
	metrics, err := webhook.NewMetrics(prometheus.NewRegistry())
	if err != nil {
		fmt.Println(err)
		return
	}
	admission, err := webhook.New(webhook.Options{
		Index: index, Rules: leak.Rules(), InstallNamespace: install, Metrics: metrics, Reader: &reader{},
		Synced: func() bool { return true },
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	review, err := json.Marshal(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
		Request: &admissionv1.AdmissionRequest{
			UID:       "1",
			Kind:      metav1.GroupVersionKind{Group: "networking.istio.io", Version: "v1", Kind: object.KindServiceEntry},
			Resource:  metav1.GroupVersionResource{Group: "networking.istio.io", Version: "v1", Resource: "serviceentries"},
			Namespace: "shop", Name: "elsewhere", Operation: admissionv1.Create,
			Object: runtime.RawExtension{Raw: []byte(`{"metadata": {"name": "elsewhere", "namespace": "shop"},
				"spec": {"hosts": ["reviews.shop.svc.cluster.local"], "resolution": "STATIC", "endpoints": [{"address": "192.0.2.1"}]}}`)},
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	request := httptest.NewRequest(http.MethodPost, "/validate", strings.NewReader(string(review)))
	request.Header.Set("Content-Type", "application/json")
	response := httptest.NewRecorder()
	admission.Validator().ServeHTTP(response, request)
	var answer admissionv1.AdmissionReview
	if err := json.Unmarshal(response.Body.Bytes(), &answer); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(answer.Response.Allowed, answer.Response.Result.Code)
	for _, cause := range answer.Response.Result.Details.Causes {
		fmt.Println(cause.Field)
	}
	// Output:
	// false 422
	// spec.hosts[0]
}
