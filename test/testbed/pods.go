package testbed

import (
	"context"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Node returns the name of the one Node, on which every Pod must be that an EndpointSlice shall list. Nothing runs
// there, and nothing confirms the end of a Pod: one with a grace period is never gone.
func (c *Cluster) Node() string {
	return c.Name + "-node"
}

// createNode creates the Node.
func (c *Cluster) createNode(ctx context.Context, labels map[string]string) error {
	client, err := kubernetes.NewForConfig(c.Config())
	if err != nil {
		return err
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: c.Node(), Labels: labels}}
	if _, err := client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create node: %w", err)
	}
	return nil
}

// CreatePod creates a Pod that is Running and Ready at an address, for which something may or may not listen. Its
// deletion takes effect at once.
func (c *Cluster) CreatePod(ctx context.Context, namespace, name string, address netip.Addr, labels map[string]string) error {
	client, err := kubernetes.NewForConfig(c.Config())
	if err != nil {
		return err
	}
	pods := client.CoreV1().Pods(namespace)
	pod, err := pods.Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Spec: corev1.PodSpec{
			NodeName:                      c.Node(),
			TerminationGracePeriodSeconds: new(int64(0)),
			Containers:                    []corev1.Container{{Name: "server", Image: "none"}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("create pod %s/%s: %w", namespace, name, err)
	}
	pod.Status = corev1.PodStatus{
		Phase:      corev1.PodRunning,
		PodIP:      address.String(),
		PodIPs:     []corev1.PodIP{{IP: address.String()}},
		Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
	}
	if _, err := pods.UpdateStatus(ctx, pod, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("make pod %s/%s ready: %w", namespace, name, err)
	}
	return nil
}
