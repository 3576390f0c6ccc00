package testbed

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// EndPods does what a kubelet does when Pods of the installation are deleted: it stops their processes, and then the Pods
// are gone. It returns when all are, or the context ends.
func (m *Meshfence) EndPods(ctx context.Context) error {
	client, err := kubernetes.NewForConfig(m.cluster.Config())
	if err != nil {
		return err
	}
	pods := client.CoreV1().Pods(m.namespace)
	for left := len(m.all()); left > 0; {
		left = 0
		for _, r := range m.all() {
			pod, err := pods.Get(ctx, r.pod, metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				continue
			}
			left++
			if err != nil || pod.DeletionTimestamp == nil {
				continue
			}
			r.process.Load().Stop(20 * time.Second)
			if err := pods.Delete(ctx, r.pod, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}); err != nil {
				return err
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		time.Sleep(100 * time.Millisecond)
	}
	return nil
}
