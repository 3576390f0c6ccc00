package e2e_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// What leaks is refused however it is padded: in a review each of these characters takes six bytes, and the webhooks of
// high-volume kinds let pass what gets no answer.
func TestPaddedIsRefused(t *testing.T) {
	s := shared(t)
	s.configure(t, strings.Replace(defaultConfig, "[m1c1]", "[m1c1], network: own", 1))
	namespace := s.strictNamespace(t)
	config := s.Config()
	config.ContentType = "application/vnd.kubernetes.protobuf" // as JSON a request would be too large for the API server
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	pad := strings.Repeat("<", 1_300_000)
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: "padded", Labels: map[string]string{discoveryv1.LabelServiceName: "reviews"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints: []discoveryv1.Endpoint{{
			Addresses: []string{"10.9.9.9"}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: "far", FieldPath: pad},
		}},
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "padded", Labels: map[string]string{"app": "reviews", "topology.istio.io/network": "far"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "any", Image: "none", Args: []string{pad}}}},
	}
	for rule, create := range map[string]func() error{
		"endpointslice-foreign-writer": func() error {
			_, err := client.DiscoveryV1().EndpointSlices(namespace).Create(t.Context(), slice, metav1.CreateOptions{})
			return err
		},
		"pod-foreign-network": func() error {
			_, err := client.CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{})
			return err
		},
	} {
		t.Run(rule, func(t *testing.T) {
			if err := create(); err == nil || !strings.Contains(err.Error(), rule) {
				t.Errorf("the answer is %.300v", err)
			}
		})
	}
}
