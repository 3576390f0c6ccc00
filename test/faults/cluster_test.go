package faults_test

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meshfence/meshfence/test/testbed"
)

// gone is what happens while the API server does not answer: it gives up on webhooks that it has asked before.
var gone = allowed{delay: true, open: true, silence: true}

// taken is how many Services are brought in line when the lease is taken: more than a leader does until it gives up.
const taken = 200

// clusterFaults happen to what meshfence needs of the cluster.
func clusterFaults() []fault {
	return []fault{
		{
			name: "the API server stands still for 25 seconds", allowed: gone,
			strike: func(ctx context.Context, b *bed) error { return b.stopped(ctx, "kube-apiserver", 25*time.Second) },
			within: 60 * time.Second, said: []sign{logged("no longer leading")},
		},
		{
			name: "etcd stands still for 25 seconds", allowed: gone,
			strike: func(ctx context.Context, b *bed) error { return b.stopped(ctx, "etcd", 25*time.Second) },
			within: 60 * time.Second, said: []sign{logged("no longer leading")},
		},
		{
			name: "the API server is killed and started again", allowed: gone,
			strike: func(ctx context.Context, b *bed) error {
				return b.Restart(context.WithoutCancel(ctx), "kube-apiserver")
			},
			within: 60 * time.Second,
		},
		{
			// Whoever takes the lease ends the term of the leader, and nothing else.
			name: "lease taken while Services are brought in line", strike: takeLease,
			recovered: func(ctx context.Context, b *bed) error { return b.fenced(ctx, "crowd", taken) },
			within:    60 * time.Second, said: []sign{logged("no longer leading"), logged(`"leading"`)},
		},
		{
			name: "rights taken for 20 seconds",
			strike: func(ctx context.Context, b *bed) error {
				bindings := b.client.RbacV1().ClusterRoleBindings()
				binding, err := bindings.Get(ctx, meshfence, metav1.GetOptions{})
				if err != nil {
					return err
				}
				roleBindings := b.client.RbacV1().RoleBindings(install)
				roleBinding, err := roleBindings.Get(ctx, meshfence, metav1.GetOptions{})
				if err != nil {
					return err
				}
				err = errors.Join(bindings.Delete(ctx, meshfence, metav1.DeleteOptions{}), roleBindings.Delete(ctx, meshfence, metav1.DeleteOptions{}),
					pause(ctx, 20*time.Second))
				binding.ResourceVersion, roleBinding.ResourceVersion = "", ""
				_, created := bindings.Create(ctx, binding, metav1.CreateOptions{})
				_, alsoCreated := roleBindings.Create(ctx, roleBinding, metav1.CreateOptions{})
				return errors.Join(err, created, alsoCreated)
			},
			within: 60 * time.Second, said: []sign{logged("forbidden"), logged("no longer leading")},
		},
	}
}

// stopped has a component of the control plane stand still for a while.
func (b *bed) stopped(ctx context.Context, component string, d time.Duration) error {
	return errors.Join(b.Signal(component, syscall.SIGSTOP), pause(ctx, d), b.Signal(component, syscall.SIGCONT))
}

// takeLease takes the lease from the leader while it is busy, and gives it back once nobody leads.
func takeLease(ctx context.Context, b *bed) error {
	if err := b.crowd(ctx, "crowd", taken); err != nil {
		return err
	}
	if err := b.label(ctx, "crowd", "strict"); err != nil {
		return err
	}
	if err := pause(ctx, time.Second); err != nil {
		return err
	}
	theft := fmt.Sprintf(`{"spec": {"holderIdentity": "thief", "leaseDurationSeconds": 600, "renewTime": %q}}`, time.Now().UTC().Format(metav1.RFC3339Micro))
	leases := b.client.CoordinationV1().Leases(install)
	if _, err := leases.Patch(ctx, meshfence, types.MergePatchType, []byte(theft), metav1.PatchOptions{}); err != nil {
		return err
	}
	if err := testbed.Eventually(ctx, 30*time.Second, b.nobodyLeads); err != nil {
		return err
	}
	before := b.fenced(ctx, "crowd", taken)
	if before == nil {
		return errors.New("the lease was taken when everything was in line")
	}
	if err := pause(ctx, 2*time.Second); err != nil {
		return err
	}
	if after := b.fenced(ctx, "crowd", taken); after == nil || after.Error() != before.Error() {
		return fmt.Errorf("written without the lease: first %w, then %w", before, after)
	}
	for i := range b.meshfence.Replicas() {
		if !b.meshfence.Runs(i) {
			return fmt.Errorf("replica %d has ended", i)
		}
	}
	return leases.Delete(ctx, meshfence, metav1.DeleteOptions{})
}

// nobodyLeads returns nil if no replica leads, or says what it did as the leader.
func (b *bed) nobodyLeads(ctx context.Context) error {
	for i := range b.meshfence.Replicas() {
		for _, series := range []string{leads, `meshfence_backfill_objects{state="done"}`} {
			if value, err := b.meshfence.Metric(ctx, i, series); err != nil || value != 0 {
				return errors.Join(fmt.Errorf("replica %d: %s is %v", i, series, value), err)
			}
		}
	}
	return nil
}

// crowd makes a Namespace without a fence and Services in it.
func (b *bed) crowd(ctx context.Context, name string, number int) error {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := b.client.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	for i := range number {
		service := &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("service-%d", i)},
			Spec:       corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone, Ports: []corev1.ServicePort{{Name: "http", Port: 80}}, Selector: map[string]string{"app": "none"}},
		}
		if _, err := b.client.CoreV1().Services(name).Create(ctx, service, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
	}
	return nil
}

// label fences a Namespace.
func (b *bed) label(ctx context.Context, namespace, fence string) error {
	patch := fmt.Sprintf(`{"metadata": {"labels": {"meshfence.io/fence": %q}}}`, fence)
	_, err := b.client.CoreV1().Namespaces().Patch(ctx, namespace, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	return err
}

// fenced returns nil if every Service of a Namespace is marked and has a companion, and there are as many.
func (b *bed) fenced(ctx context.Context, namespace string, number int) error {
	marked, err := b.client.CoreV1().Services(namespace).List(ctx, metav1.ListOptions{LabelSelector: "meshfence.io/fenced=strict"})
	if err != nil {
		return err
	}
	companions, err := b.objects.Resource(destinationRules).Namespace(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	if len(marked.Items) != number || len(companions.Items) != number {
		return fmt.Errorf("%d Services are marked and %d companions are there, of %d", len(marked.Items), len(companions.Items), number)
	}
	return nil
}
