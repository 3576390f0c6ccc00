package testbed

import (
	"context"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// adoptPods does the work of scheduler and kubelet: every Pod of the Deployment gets a Node and an address.
func (m *Meshfence) adoptPods(ctx context.Context) error {
	client, err := kubernetes.NewForConfig(m.cluster.Config())
	if err != nil {
		return err
	}
	var deployment *appsv1.Deployment
	err = Eventually(ctx, readyWithin, func(ctx context.Context) (err error) {
		deployment, err = client.AppsV1().Deployments(m.namespace).Get(ctx, installName, metav1.GetOptions{})
		return err
	})
	if err != nil {
		return err
	}
	pods, err := m.pods(ctx, client, deployment)
	if err != nil {
		return err
	}
	for _, pod := range pods {
		if _, err := m.adopt(ctx, client, &pod); err != nil {
			return err
		}
	}
	return nil
}

// adopt gives a Pod a Node and an address.
func (m *Meshfence) adopt(ctx context.Context, client kubernetes.Interface, pod *corev1.Pod) (*replica, error) {
	binding := &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Name: pod.Name},
		Target:     corev1.ObjectReference{Kind: "Node", Name: m.cluster.Node()},
	}
	if err := client.CoreV1().Pods(m.namespace).Bind(ctx, binding, metav1.CreateOptions{}); err != nil {
		return nil, fmt.Errorf("bind pod %s: %w", pod.Name, err)
	}
	r := &replica{
		pod: pod.Name, address: m.cluster.Host(m.firstHost() + m.adopted), kubeconfig: m.cluster.file(pod.Name + ".kubeconfig"),
		path: m.path, probes: probesOf(pod),
	}
	m.adopted++
	if err := m.cluster.writeServiceAccountKubeconfig(r.kubeconfig, m.namespace, pod.Spec.ServiceAccountName); err != nil {
		return nil, err
	}
	var err error
	if r.args, err = m.mountSecrets(ctx, client, pod); err != nil {
		return nil, err
	}
	if m.limited {
		if r.memory, err = newMemory(pod); err != nil {
			return nil, err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.replicas = append(m.replicas, r)
	return r, nil
}

func (m *Meshfence) pods(ctx context.Context, client kubernetes.Interface, d *appsv1.Deployment) ([]corev1.Pod, error) {
	var pods []corev1.Pod
	err := Eventually(ctx, readyWithin, func(ctx context.Context) error {
		list, err := client.CoreV1().Pods(m.namespace).List(ctx, metav1.ListOptions{
			LabelSelector: metav1.FormatLabelSelector(d.Spec.Selector),
		})
		if err != nil {
			return err
		}
		if pods = list.Items; len(pods) != int(*d.Spec.Replicas) {
			return fmt.Errorf("%d pods of %d", len(pods), *d.Spec.Replicas)
		}
		return nil
	})
	return pods, err
}

// Rollout does the work of scheduler and kubelet while the controller of the Deployment replaces the Pods, and returns when
// it has. The new Pods run a program, that of before where it is empty.
func (m *Meshfence) Rollout(ctx context.Context, program string) error {
	if program != "" {
		m.path = program
	}
	client, err := kubernetes.NewForConfig(m.cluster.Config())
	if err != nil {
		return err
	}
	return Eventually(ctx, 4*readyWithin, func(ctx context.Context) error {
		deployment, err := client.AppsV1().Deployments(m.namespace).Get(ctx, installName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		pods, err := client.CoreV1().Pods(m.namespace).List(ctx, metav1.ListOptions{LabelSelector: metav1.FormatLabelSelector(deployment.Spec.Selector)})
		if err != nil {
			return err
		}
		for _, pod := range pods.Items {
			if err := m.follow(ctx, client, &pod); err != nil {
				return err
			}
		}
		return rolledOut(deployment, len(pods.Items))
	})
}

// follow does what a kubelet does for a Pod that is new, or that goes.
func (m *Meshfence) follow(ctx context.Context, client kubernetes.Interface, pod *corev1.Pod) error {
	replicas := m.all()
	i := slices.IndexFunc(replicas, func(r *replica) bool { return r.pod == pod.Name })
	switch {
	case pod.DeletionTimestamp == nil && i >= 0:
		return nil
	case pod.DeletionTimestamp == nil:
		// The process outlives what waits for it to be ready.
		r, err := m.adopt(context.WithoutCancel(ctx), client, pod)
		if err != nil {
			return err
		}
		return m.startReplica(context.WithoutCancel(ctx), r)
	case i >= 0:
		// It answers until every API server knows that it goes.
		time.Sleep(time.Duration(pod.Spec.Containers[0].Lifecycle.PreStop.Sleep.Seconds) * time.Second)
		replicas[i].process.Load().Stop(20 * time.Second)
		replicas[i].memory.release()
		m.mu.Lock()
		m.replicas = slices.Delete(m.replicas, i, i+1)
		m.mu.Unlock()
	}
	return client.CoreV1().Pods(m.namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))})
}

func rolledOut(d *appsv1.Deployment, pods int) error {
	want, status := *d.Spec.Replicas, d.Status
	if status.ObservedGeneration < d.Generation || status.UpdatedReplicas < want || status.AvailableReplicas < want || pods != int(want) {
		return fmt.Errorf("%d Pods, of which %d are new and %d available, want %d", pods, status.UpdatedReplicas, status.AvailableReplicas, want)
	}
	return nil
}
