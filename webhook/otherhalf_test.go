package webhook_test

import (
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"

	"github.com/meshfence/meshfence/policy/admit"
	"github.com/meshfence/meshfence/policy/object"
)

// written returns the Service shop/reviews in YAML.
func written(metadata, spec string) string {
	return "{apiVersion: v1, kind: Service, metadata: {name: reviews, namespace: shop" + metadata + "}, spec: {" + spec + "}}"
}

// TestOtherHalf: a Service is judged by its status, by what it changes into, and when it goes.
func TestOtherHalf(t *testing.T) {
	t.Parallel()
	const plain = "selector: {app: reviews}, clusterIP: 10.0.0.1, ports: [{port: 80}]"
	tests := map[string]struct {
		path         string
		object, old  string
		change       func(*admissionv1.AdmissionRequest)
		code         int32
		says, warned string
	}{
		"a label by its status": {
			path: admit.ValidatePath, object: written(`, labels: {istio.io/global: "true"}`, plain), old: written("", plain),
			change: func(r *admissionv1.AdmissionRequest) { r.SubResource = "status" },
			code:   422, says: "[service-global-label]",
		},
		"nothing by its status": {
			path: admit.ValidatePath, object: written("", plain), old: written("", plain),
			change: func(r *admissionv1.AdmissionRequest) { r.SubResource = "status" },
		},
		"its status is not mutated": {
			path: admit.MutatePath, object: written("", plain), old: written("", plain),
			change: func(r *admissionv1.AdmissionRequest) { r.SubResource = "status" },
			code:   400, says: `resource "services/status" is not for /mutate`,
		},
		"no status is created": {
			path: admit.ValidatePath, object: written("", plain),
			change: func(r *admissionv1.AdmissionRequest) { r.SubResource = "status" },
			code:   400, says: `resource "services/status" is not for /validate`,
		},
		"another subresource": {
			path: admit.ValidatePath, object: written("", plain), old: written("", plain),
			change: func(r *admissionv1.AdmissionRequest) { r.SubResource = "proxy" },
			code:   400, says: `resource "services/proxy" is not for /validate`,
		},
		"its selector comes to choose a workload": {
			path: admit.ValidatePath, object: written("", strings.Replace(plain, "reviews", "vm", 1)), old: written("", plain),
			code: 422, says: "WorkloadEntry shop/far: spec.labels",
		},
		"it goes": {
			path: admit.ValidatePath, object: written("", plain), old: written("", plain),
			change: func(r *admissionv1.AdmissionRequest) { r.Operation = admissionv1.Delete },
			warned: "[service-deleted]",
		},
		"it goes, and with it what it asks for": {
			path: admit.ValidatePath, object: written(", annotations: {meshfence.io/fence: none}", plain), old: written(", annotations: {meshfence.io/fence: none}", plain),
			change: func(r *admissionv1.AdmissionRequest) { r.Operation = admissionv1.Delete },
			warned: "[service-deleted]",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := serve(t, fenced)
			c.index.SetObject(&object.Object{
				Kind: object.KindWorkloadEntry, Metadata: object.Metadata{Namespace: "shop", Name: "far"},
				WorkloadEntry: &object.WorkloadEntry{Address: "10.9.9.9", Labels: map[string]string{"app": "vm"}},
			})
			r := request(t, test.object, test.old)
			if test.change != nil {
				test.change(r)
			}
			response := c.ask(t, test.path, r)
			if test.code == 0 {
				if !response.Allowed || test.warned == "" != (len(response.Warnings) == 0) || !strings.Contains(strings.Join(response.Warnings, "\n"), test.warned) {
					t.Errorf("allowed %t with the warnings %q: %v", response.Allowed, response.Warnings, response.Result)
				}
				return
			}
			if response.Allowed || response.Result.Code != test.code || !strings.Contains(response.Result.Message, test.says) {
				t.Errorf("allowed %t: %+v", response.Allowed, response.Result)
			}
		})
	}
}
