package e2e_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Whoever takes the lease away ends the term of the leader, and nothing else: both replicas go on admitting, and when
// the lease is free again one of them writes again.
func TestLeaseLost(t *testing.T) {
	s := shared(t)
	companion := func(namespace string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, _, err := s.Kubectl(ctx, "", "get", "destinationrule", "reviews-meshfence", "-n", namespace)
			return err
		}
	}
	before := s.strictNamespace(t)
	eventually(t, "the leader makes companions", companion(before))

	client, err := kubernetes.NewForConfig(s.Config())
	if err != nil {
		t.Fatal(err)
	}
	// The Service is none that admission takes: that it is refused is its work.
	judged := func(ctx context.Context) error {
		time.Sleep(100 * time.Millisecond)
		unknown := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "probe", Annotations: map[string]string{"meshfence.io/fence": "unknown"}}}
		unknown.Spec.Ports = []corev1.ServicePort{{Port: 80}}
		_, err := client.CoreV1().Services(before).Create(ctx, unknown, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if apierrors.IsInvalid(err) {
			return nil
		}
		return fmt.Errorf("not refused: %w", err)
	}
	var during string
	requests := underLoad(t, judged, func() {
		s.kubectl(t, "", "patch", "lease", "meshfence", "-n", "meshfence-system", "--type=merge", "-p", fmt.Sprintf(
			`{"spec": {"holderIdentity": "thief", "leaseDurationSeconds": 600, "renewTime": %q}}`, time.Now().UTC().Format(metav1.RFC3339Micro)))
		eventually(t, "no replica leads", func(context.Context) error {
			leaders := 0.0
			for i := range s.meshfence.Replicas() {
				leaders += s.metric(t, i, `leader_election_master_status{name="meshfence"}`)
			}
			if leaders > 0 {
				return fmt.Errorf("%v replicas lead", leaders)
			}
			for i := range s.meshfence.Replicas() {
				if done := s.metric(t, i, `meshfence_backfill_objects{state="done"}`); done > 0 {
					return fmt.Errorf("replica %d still says what it did as the leader", i)
				}
			}
			return nil
		})
		during = s.strictNamespace(t)
		time.Sleep(2 * time.Second)
		if companion(during)(t.Context()) == nil {
			t.Error("a companion was made without the lease")
		}
		s.kubectl(t, "", "delete", "lease", "meshfence", "-n", "meshfence-system")
		eventually(t, "a replica leads again", companion(during))
	})
	t.Logf("%d requests were judged", requests)
	for i := range s.meshfence.Replicas() {
		if !s.meshfence.Runs(i) {
			t.Errorf("replica %d has ended", i)
		}
	}
}
