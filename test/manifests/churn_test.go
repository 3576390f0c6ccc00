package manifests_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// churned is how many Pods are created, each of which changes an EndpointSlice of its own.
const churned = 1000

// Ordinary endpoints, Pods, Bindings and statuses never reach the webhook: while a real kube-controller-manager makes an
// EndpointSlice and an Endpoints follow each of a thousand Pods, a hundred more are bound as by a scheduler, and each of
// them, a load balancer and a ServiceEntry get a status as kubelets, cloud controllers and istiod report it, no entry is
// called.
func TestChurn(t *testing.T) {
	cluster, client := shared(t)
	namespace := cluster.CreateNamespace(t, map[string]string{"meshfence.io/fence": "strict"})
	each(t, func(i int) error {
		_, err := client.CoreV1().Services(namespace).Create(t.Context(), &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: "s" + strconv.Itoa(i)},
			Spec: corev1.ServiceSpec{
				Selector: map[string]string{"app": strconv.Itoa(i)}, ClusterIP: corev1.ClusterIPNone,
				Ports: []corev1.ServicePort{{Name: "http", Port: 80}},
			},
		}, metav1.CreateOptions{})
		return err
	})
	apply(t, cluster, "{apiVersion: v1, kind: List, items: ["+balancer+", "+allocated+"]}", "apply", "-n", namespace, "-f", "-")
	eventually(t, "every Service has an EndpointSlice", func(ctx context.Context) error { return slicesWith(ctx, client, namespace, 0) })
	r := newRecorder(t)
	r.register(t, cluster, "self-signed")
	foreign := create(namespace, "discovery.k8s.io/v1", "EndpointSlice", "a", "}, addressType: IPv4, endpoints: [{addresses: [10.9.9.9]}]}").
		calls("endpoints.validate")
	inForce := func(context.Context) error {
		err := foreign.run(t, cluster)
		if diff := cmp.Diff(foreign.want, r.take()); diff != "" {
			return errors.Join(err, errors.New(diff))
		}
		return err
	}
	eventually(t, "the webhook configurations are in force", inForce)

	each(t, func(i int) error {
		return cluster.CreatePod(t.Context(), namespace, "p"+strconv.Itoa(i), cluster.Host(1000+i), map[string]string{"app": strconv.Itoa(i)})
	})
	eventually(t, "every EndpointSlice has a Pod", func(ctx context.Context) error { return slicesWith(ctx, client, namespace, 1) })
	each(t, func(i int) error {
		reported := []report{
			{"v1", "pods", "p" + strconv.Itoa(i), fmt.Sprintf(`{"status": {"conditions": [{"type": "Ready", "status": "True", "message": "%d"}]}}`, i)},
		}
		if i < 100 {
			reported = append(reported,
				report{"v1", "services", "balancer", fmt.Sprintf(`{"metadata": {"finalizers": ["a.example.com/%d"]}, "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.%d"}]}}}`, i, i)},
				report{"networking.istio.io/v1", "serviceentries", "allocated", fmt.Sprintf(`{"status": {"addresses": [{"value": "240.240.0.%d"}, {"value": "2001:2::%x"}]}}`, i, i)},
			)
		}
		if i < 100 {
			if err := bind(t.Context(), client, namespace, "b"+strconv.Itoa(i)); err != nil {
				return err
			}
		}
		for _, r := range reported {
			if err := r.send(t.Context(), client, namespace); err != nil {
				return err
			}
		}
		return nil
	})
	if called := r.take(); len(called) > 0 {
		t.Errorf("called %v for what Kubernetes itself does", called)
	}
	if err := inForce(t.Context()); err != nil {
		t.Errorf("the webhook configurations are no longer in force: %v", err)
	}
}

const (
	balancer  = "{apiVersion: v1, kind: Service, metadata: {name: balancer}, spec: {type: LoadBalancer, ports: [{port: 80}]}}"
	allocated = "{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: allocated}, spec: {hosts: [a.example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}}"
)

// bind makes a Pod and binds it to a Node as a scheduler does.
func bind(ctx context.Context, client *kubernetes.Clientset, namespace, name string) error {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "bound"}},
		// Without grace no kubelet is waited for when the Pod goes.
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Image: "none"}}, TerminationGracePeriodSeconds: new(int64)},
	}
	if _, err := client.CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		return err
	}
	binding := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: name}, Target: corev1.ObjectReference{Kind: "Node", Name: "n1"}}
	return client.CoreV1().Pods(namespace).Bind(ctx, binding, metav1.CreateOptions{})
}

// report is what somebody writes into the status of an object.
type report struct{ version, resource, name, patch string }

func (r report) send(ctx context.Context, client *kubernetes.Clientset, namespace string) error {
	path := "/api/" + r.version
	if strings.Contains(r.version, "/") {
		path = "/apis/" + r.version
	}
	return client.RESTClient().Patch(types.MergePatchType).AbsPath(path, "namespaces", namespace, r.resource, r.name, "status").
		Body([]byte(r.patch)).Do(ctx).Error()
}

// each runs f for every number below churned, several at a time.
func each(t *testing.T, f func(i int) error) {
	t.Helper()
	var group sync.WaitGroup
	numbers := make(chan int)
	for range 16 {
		group.Go(func() {
			for i := range numbers {
				if err := f(i); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range churned {
		numbers <- i
	}
	close(numbers)
	group.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// slicesWith says how many EndpointSlices with that number of endpoints are missing.
func slicesWith(ctx context.Context, client *kubernetes.Clientset, namespace string, endpoints int) error {
	list, err := client.DiscoveryV1().EndpointSlices(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	found := 0
	for _, s := range list.Items {
		if len(s.Endpoints) == endpoints {
			found++
		}
	}
	if found != churned {
		return fmt.Errorf("%d of %d", found, churned)
	}
	return nil
}
