package webhook_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshfence/meshfence/policy/admit"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// TestBinding: what a Binding puts on its Pod is judged as if somebody wrote the Pod, by either of its resources, and
// what the Pod had before does not count.
func TestBinding(t *testing.T) {
	t.Parallel()
	network := map[string]string{"topology.istio.io/network": "n2"}
	const named, found = "{apiVersion: v1, kind: Binding, metadata: {name: reviews-1, namespace: shop", "pod-foreign-network metadata.labels[topology.istio.io/network]"
	for name, test := range map[string]struct {
		pod     map[string]string // its labels; nil where there is none
		binding string
		denied  string
	}{
		"brings a network":                        {map[string]string{"app": "reviews"}, named + ", labels: {topology.istio.io/network: n2}}}", found},
		"brings the label that a Service selects": {network, named + ", labels: {app: reviews}}}", found},
		"replaces a label":                        {map[string]string{"app": "reviews", "topology.istio.io/network": "n1"}, named + ", labels: {topology.istio.io/network: n2}}}", found},
		"brings both at once":                     {map[string]string{}, named + ", labels: {app: reviews, topology.istio.io/network: n2}}}", found},
		"brings what the Pod has":                 {map[string]string{"app": "reviews", "topology.istio.io/network": "n2"}, named + ", labels: {app: reviews}}}", ""},
		"brings what nothing selects":             {map[string]string{"app": "other"}, named + ", labels: {topology.istio.io/network: n2}}}", ""},
		"has no Pod":                              {nil, named + ", labels: {topology.istio.io/network: n2}}}", ""},
		"claims a cluster": {map[string]string{}, named + `, annotations: {proxy.istio.io/config: "proxyMetadata: {ISTIO_META_CLUSTER_ID: m1c2}"}}}`,
			"pod-foreign-cluster metadata.annotations[proxy.istio.io/config]"},
	} {
		for _, resource := range []string{"bindings", "pods"} {
			t.Run(name+" by "+resource, func(t *testing.T) {
				t.Parallel()
				c := serve(t, `
apiVersion: config.meshfence.io/v1alpha1
kind: FenceConfig
controlPlane: {clusters: [m1c1], network: n1}
holds: [meshConfig]
scope: {namespaces: [{name: shop, fence: strict}]}
`)
				c.index.SetServiceSpec(hostname.Host{Namespace: "shop", Name: "reviews"}, object.ServiceSpec{Selector: map[string]string{"app": "reviews"}})
				if test.pod != nil {
					c.reader.objects = []metav1.PartialObjectMetadata{{
						TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: object.KindPod},
						ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "reviews-1", Labels: test.pod},
					}}
				}
				r := request(t, test.binding, "")
				if r.Resource.Resource = resource; resource == "pods" {
					r.SubResource = "binding"
				} else {
					r.Name = "" // as the API server leaves it
				}
				response := c.ask(t, admit.ValidatePath, r)
				if diff := cmp.Diff(test.denied, response.AuditAnnotations["denied"]); diff != "" || response.Allowed != (test.denied == "") {
					t.Errorf("allowed %t, denied (-want +got):\n%s", response.Allowed, diff)
				}
			})
		}
	}
	t.Run("its Pod cannot be read", func(t *testing.T) {
		t.Parallel()
		c := serve(t, fenced)
		c.reader.err = errors.New("away")
		response := c.ask(t, admit.ValidatePath, request(t, named+", labels: {app: a}}}", ""))
		assertRefused(t, response, http.StatusInternalServerError, metav1.StatusReasonInternalError, "Internal error occurred: get Pod shop/reviews-1: away")
	})
}
