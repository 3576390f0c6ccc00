package node_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshfence/meshfence/test/testbed"
)

func (n *node) pods(ctx context.Context) ([]corev1.Pod, error) {
	list, err := n.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// called returns the Pod that the API server calls. All requests go over one connection while that lasts.
func (n *node) called(t *testing.T) corev1.Pod {
	t.Helper()
	pods, err := n.pods(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	answered := func(ctx context.Context, pod corev1.Pod) (float64, error) {
		const series = `meshfence_admission_duration_seconds_count{kind="VirtualService",path="/validate"}`
		return testbed.Metric(ctx, fmt.Sprintf("http://%s:8080/metrics", pod.Status.PodIP), series)
	}
	before := map[string]float64{}
	for _, pod := range pods {
		if before[pod.Name], err = answered(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
	}
	var called corev1.Pod
	eventually(t, "a Pod is called", func(ctx context.Context) error {
		for _, pod := range pods {
			if now, err := answered(ctx, pod); err == nil && now > before[pod.Name] {
				called = pod
				return nil
			}
		}
		return errors.New("no Pod is called")
	})
	return called
}

func expect(want int, pods []corev1.Pod) error {
	if len(pods) != want {
		return fmt.Errorf("%d Pods, want %d", len(pods), want)
	}
	return nil
}

// ready returns nil if there are so many Pods, and all are ready.
func (n *node) ready(want int) func(context.Context) error {
	return func(ctx context.Context) error {
		pods, err := n.pods(ctx)
		if err != nil {
			return err
		}
		for _, pod := range pods {
			if !ready(pod) {
				return fmt.Errorf("%s is not ready: %s %v", pod.Name, pod.Status.Phase, pod.Status.ContainerStatuses)
			}
		}
		return expect(want, pods)
	}
}

func ready(pod corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue && pod.DeletionTimestamp == nil
		}
	}
	return false
}

// started reports whether the startup probe has passed.
func started(pod corev1.Pod) bool {
	statuses := pod.Status.ContainerStatuses
	return len(statuses) == 1 && statuses[0].Started != nil && *statuses[0].Started
}

// notRestarted fails the test if the container of a Pod has ended, such as for want of memory.
func (n *node) notRestarted(t *testing.T) {
	t.Helper()
	pods, err := n.pods(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, pod := range pods {
		for _, status := range pod.Status.ContainerStatuses {
			if status.RestartCount > 0 {
				t.Errorf("%s was restarted: %v", pod.Name, status.LastTerminationState)
			}
		}
	}
}

// restarted returns nil once the container of a Pod was started again, after it ended for a reason.
func (n *node) restarted(pod corev1.Pod, reason string) func(context.Context) error {
	before := pod.Status.ContainerStatuses[0].RestartCount
	return func(ctx context.Context) error {
		now, err := n.client.CoreV1().Pods(namespace).Get(ctx, pod.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		status := now.Status.ContainerStatuses[0]
		ended := status.LastTerminationState.Terminated
		if status.RestartCount == before || ended == nil {
			return fmt.Errorf("%s was not started again", pod.Name)
		}
		if ended.Reason != reason {
			return fmt.Errorf("%s ended because of %s (%d), want %s", pod.Name, ended.Reason, ended.ExitCode, reason)
		}
		return nil
	}
}
