package faults_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshfence/meshfence/test/testbed"
)

const (
	istio    = "istio-system"
	meshText = "accessLogFile: /dev/stdout # keep this\n"
	// entryOfShop is in the mesh ConfigMap while it holds shop.
	entryOfShop = "*.shop.svc.cluster.local"
	holdActive  = `meshfence_hold_active{hold="meshConfig"}`
)

// harmless are the writes that hold meshConfig makes harmless.
func harmless() []string { return []string{"PASSTHROUGH"} }

// meshFaults happen to the mesh ConfigMap, while hold meshConfig uses it beside subset.
func meshFaults() []fault {
	return []fault{
		{
			name: "mesh ConfigMap deleted for five seconds", without: harmless(),
			strike: held(func(ctx context.Context, b *bed) error {
				return errors.Join(b.client.CoreV1().ConfigMaps(istio).Delete(ctx, "istio", metav1.DeleteOptions{}), pause(ctx, 5*time.Second), b.writeMesh(ctx, meshText))
			}),
			recovered: released, within: 30 * time.Second, said: []sign{event("HoldNotActive"), metric(`meshfence_hold_fault{hold="meshConfig",state="broken"}`, 1)},
		},
		{
			// Admission refuses it, so that it comes in while there is none.
			name: "mesh ConfigMap of a wrong type, written while no replica runs", without: harmless(), allowed: away,
			strike: held(func(ctx context.Context, b *bed) error {
				return errors.Join(
					b.without(ctx, 0, func() error { return b.writeMesh(ctx, meshText+"serviceSettings: true\n") }),
					b.meshfence.WaitServing(ctx), pause(ctx, 5*time.Second), b.writeMesh(ctx, meshText),
				)
			}),
			recovered: released, within: 30 * time.Second, said: []sign{event("HoldNotActive"), logged("hold is not active")},
		},
		{
			name: "mesh ConfigMap reset fifty times", without: harmless(),
			strike: held(func(ctx context.Context, b *bed) error {
				for i := range 50 {
					text := fmt.Sprintf("%saccessLogFormat: %q\n", meshText, fmt.Sprint(i))
					if err := b.writeMesh(ctx, text); err != nil {
						return err
					}
				}
				return b.writeMesh(ctx, meshText)
			}),
			recovered: released, within: 30 * time.Second,
		},
	}
}

// held has hold meshConfig hold, does something, waits until it holds again, and goes back to the FenceConfig of the others.
func held(strike func(context.Context, *bed) error) func(context.Context, *bed) error {
	return func(ctx context.Context, b *bed) error {
		err := errors.Join(b.writeMesh(ctx, meshText), b.meshfence.Configure(ctx, strings.Replace(fenceConfig, "[subset]", "[meshConfig, subset]", 1)),
			testbed.Eventually(ctx, 30*time.Second, func(ctx context.Context) error { return b.holds(ctx, 1) }))
		if err != nil {
			return err
		}
		err = strike(ctx, b)
		again := testbed.Eventually(ctx, 60*time.Second, func(ctx context.Context) error { return b.holds(ctx, 1) })
		return errors.Join(err, again, b.meshfence.Configure(ctx, fenceConfig))
	}
}

// holds returns nil if the mesh ConfigMap holds shop, and every replica knows it.
func (b *bed) holds(ctx context.Context, want float64) error {
	configMap, err := b.client.CoreV1().ConfigMaps(istio).Get(ctx, "istio", metav1.GetOptions{})
	if err != nil {
		return err
	}
	if !strings.Contains(configMap.Data["mesh"], entryOfShop) {
		return fmt.Errorf("mesh ConfigMap %s", configMap.Data["mesh"])
	}
	for i := range b.meshfence.Replicas() {
		if active, err := b.meshfence.Metric(ctx, i, holdActive); err != nil || active != want {
			return errors.Join(fmt.Errorf("the hold is %v in replica %d", active, i), err)
		}
	}
	return nil
}

// released returns nil once the mesh ConfigMap is as the installer wrote it.
func released(ctx context.Context, b *bed) error {
	configMap, err := b.client.CoreV1().ConfigMaps(istio).Get(ctx, "istio", metav1.GetOptions{})
	if err == nil && configMap.Data["mesh"] != meshText {
		err = fmt.Errorf("mesh ConfigMap %s", configMap.Data["mesh"])
	}
	return errors.Join(err, inForce(ctx, b))
}

// writeMesh writes the mesh ConfigMap as an installer does that knows only its own text.
func (b *bed) writeMesh(ctx context.Context, text string) error {
	configMap := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "istio"}, Data: map[string]string{"mesh": text}}
	_, err := b.client.CoreV1().ConfigMaps(istio).Update(ctx, configMap, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) {
		_, err = b.client.CoreV1().ConfigMaps(istio).Create(ctx, configMap, metav1.CreateOptions{})
	}
	return err
}
