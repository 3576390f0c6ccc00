package node_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// crowdTeams is how many namespaces a crowd has, crowdServices how many Services each has, and every strictEvery-th
	// namespace is strict.
	crowdTeams    = 100
	crowdServices = 200
	strictEvery   = 10
)

// amongCrowd is a rollout in a cluster of many Services, in which both the old Pods and the new ones, which read all of them
// at once, must do with the memory that they have.
func amongCrowd() happening {
	return happening{
		name: fmt.Sprintf("rollout among %d Services", crowdTeams*crowdServices), prepare: crowd,
		strike: func(t *testing.T, n *node) {
			n.notRestarted(t)
			t.Logf("before the rollout a Pod has held at most %d MiB", n.mostMemory(t)>>20)
			rollout(t, n)
			n.notRestarted(t)
		},
	}
}

// crowd creates the Services, and waits until the leader has made the companions of the strict ones. The others are headless:
// for each address that it gives away, the API server goes through all that it gave before (createIPAddress in
// pkg/registry/core/service/ipallocator of Kubernetes).
func crowd(t *testing.T, n *node) {
	began := time.Now()
	writers, ctx := errgroup.WithContext(t.Context())
	writers.SetLimit(16)
	for i := range crowdTeams {
		team := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("team-%03d", i)}}
		if i%strictEvery == 0 {
			team.Labels = map[string]string{"meshfence.io/fence": "strict"}
		}
		if _, err := n.client.CoreV1().Namespaces().Create(ctx, team, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		var clusterIP string
		if team.Labels == nil {
			clusterIP = corev1.ClusterIPNone
		}
		for j := range crowdServices {
			writers.Go(func() error { return n.createService(ctx, team.Name, fmt.Sprintf("service-%03d", j), clusterIP) })
		}
	}
	if err := writers.Wait(); err != nil {
		t.Fatal(err)
	}
	t.Logf("created after %s", time.Since(began).Round(time.Second))
	const want = crowdTeams / strictEvery * crowdServices
	eventually(t, "the strict Services have companions", func(ctx context.Context) error {
		companions, err := n.objects.Resource(virtualServices()).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/managed-by=meshfence"})
		if err != nil {
			return err
		}
		if got := len(companions.Items); got < want {
			return fmt.Errorf("%d companions of %d", got, want)
		}
		return nil
	})
}

func (n *node) createService(ctx context.Context, namespace, name, clusterIP string) error {
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.ServiceSpec{
			ClusterIP: clusterIP, Selector: map[string]string{"app": name}, Ports: []corev1.ServicePort{{Name: "http", Port: 8080}},
		},
	}
	_, err := n.client.CoreV1().Services(namespace).Create(ctx, service, metav1.CreateOptions{})
	return err
}
