package cluster_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/meshfence/meshfence/cluster"
	"github.com/meshfence/meshfence/policy"
)

func TestIdentities(t *testing.T) {
	t.Parallel()
	pod := func(namespace, name string, labels map[string]string, container, variable, value string) client.Object {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels}}
		p.Spec.Containers = []corev1.Container{{Name: "other"}, {Name: container, Env: []corev1.EnvVar{{Name: variable, Value: value}}}}
		return p
	}
	istiod, injected := map[string]string{"app": "istiod"}, map[string]string{"security.istio.io/tlsMode": "istio"}
	for name, test := range map[string]struct {
		objects []client.Object
		want    []string
	}{
		"nothing": {},
		"istiod":  {[]client.Object{pod("istio-system", "a", istiod, "discovery", "CLUSTER_ID", "m1c1")}, []string{"m1c1"}},
		"revisions": {[]client.Object{pod("istio-system", "a", istiod, "discovery", "CLUSTER_ID", "m1c1"),
			pod("istio-system", "b", istiod, "discovery", "CLUSTER_ID", "m1c1")}, []string{"m1c1"}},
		"istiod that says nothing": {[]client.Object{pod("istio-system", "a", istiod, "discovery", "REVISION", "x")}, []string{"Kubernetes"}},
		"istiod of another Istio":  {[]client.Object{pod("other", "a", istiod, "discovery", "CLUSTER_ID", "m1c1")}, nil},
		"istiod before a sidecar": {[]client.Object{pod("shop", "a", injected, "istio-proxy", "ISTIO_META_CLUSTER_ID", "m1c2"),
			pod("istio-system", "a", istiod, "discovery", "CLUSTER_ID", "m1c1")}, []string{"m1c1"}},
		"a sidecar alone":  {[]client.Object{pod("shop", "a", injected, "istio-proxy", "ISTIO_META_CLUSTER_ID", "m1c2")}, []string{"m1c2"}},
		"a Pod of no mesh": {[]client.Object{pod("shop", "a", nil, "server", "ISTIO_META_CLUSTER_ID", "m1c2")}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := cluster.Identities(t.Context(), fake.NewClientBuilder().WithObjects(test.objects...).Build(), "istio-system")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// A FenceConfig for another cluster is told of once, until it is right.
func TestIdentityIsTold(t *testing.T) {
	t.Parallel()
	istiod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "istio-system", Name: "a", Labels: map[string]string{"app": "istiod"}}}
	index, recorder := policy.NewIndex(&policy.Config{Clusters: []string{"m1c1"}, IstioNamespace: "istio-system"}), events.NewFakeRecorder(10)
	look := cluster.LookWhose(index, fake.NewClientBuilder().WithObjects(istiod).Build(), recorder)
	look(t.Context())
	look(t.Context())
	index.SetConfig(&policy.Config{Clusters: []string{"Kubernetes"}, IstioNamespace: "istio-system"})
	look(t.Context())
	index.SetConfig(&policy.Config{Clusters: []string{"m1c1"}, IstioNamespace: "istio-system"})
	look(t.Context())
	if got := len(recorder.Events); got != 2 {
		t.Errorf("%d Events, want 2", got)
	}
	if got := <-recorder.Events; !strings.HasPrefix(got, `Warning UnknownCluster controlPlane.clusters must list "Kubernetes"`) {
		t.Errorf("Event %q", got)
	}
}
