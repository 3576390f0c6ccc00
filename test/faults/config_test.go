package faults_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshfence/meshfence/test/testbed"
)

// configFaults happen to the FenceConfig.
func configFaults() []fault {
	return []fault{
		{
			name: "FenceConfig deleted for five seconds",
			strike: func(ctx context.Context, b *bed) error {
				return errors.Join(
					b.client.CoreV1().ConfigMaps(install).Delete(ctx, meshfence, metav1.DeleteOptions{}),
					pause(ctx, 5*time.Second),
					b.meshfence.Configure(ctx, fenceConfig),
				)
			},
			recovered: inForce,
			within:    15 * time.Second, said: []sign{event("FenceConfigDeleted"), metric("meshfence_config_last_reload_success", 0)},
		},
		{
			// Admission refuses it, so that it comes in while there is none.
			name: "FenceConfig cut short while no replica runs", allowed: away,
			strike: func(ctx context.Context, b *bed) error {
				err := b.without(ctx, 0, func() error { return b.meshfence.Configure(ctx, fenceConfig[:len(fenceConfig)-len("[subset]\n")]) })
				stale := testbed.Eventually(ctx, 30*time.Second, b.meshfence.WaitServing)
				return errors.Join(err, stale, b.meshfence.Configure(ctx, fenceConfig))
			},
			recovered: inForce,
			within:    60 * time.Second, said: []sign{event("StaleFenceConfig"), metric("meshfence_config_last_reload_success", 0)},
		},
		{
			name: "FenceConfig of 900 kB",
			strike: func(ctx context.Context, b *bed) error {
				var large strings.Builder
				large.WriteString(fenceConfig + "scope:\n  services:\n")
				for i := 0; large.Len() < 900_000; i++ {
					fmt.Fprintf(&large, "  - {namespace: large, name: service-%d, fence: strict}\n", i)
				}
				configMap, err := b.client.CoreV1().ConfigMaps(install).Get(ctx, meshfence, metav1.GetOptions{})
				if err != nil {
					return err
				}
				configMap.Data["config.yaml"] = large.String()
				if _, err := b.client.CoreV1().ConfigMaps(install).Update(ctx, configMap, metav1.UpdateOptions{}); err != nil {
					return err
				}
				return errors.Join(pause(ctx, 10*time.Second), b.meshfence.Configure(ctx, fenceConfig))
			},
			recovered: inForce,
			within:    20 * time.Second, said: []sign{logged("FenceConfig is in force")},
		},
		{
			name: "FenceConfig changed twenty times",
			strike: func(ctx context.Context, b *bed) error {
				for i := range 20 {
					another := fenceConfig + fmt.Sprintf("scope: {services: [{namespace: other, name: service-%d, fence: strict}]}\n", i)
					if err := b.meshfence.Configure(ctx, another); err != nil {
						return err
					}
				}
				return b.meshfence.Configure(ctx, fenceConfig)
			},
			recovered: inForce,
			within:    15 * time.Second, said: []sign{logged("FenceConfig is in force")},
		},
	}
}

// inForce returns nil once every replica has the FenceConfig of the bed in force, and not an older one.
func inForce(ctx context.Context, b *bed) error {
	series := fmt.Sprintf(`meshfence_config_info{hash="%x"}`, sha256.Sum256([]byte(fenceConfig)))
	for i := range b.meshfence.Replicas() {
		for _, series := range []string{series, "meshfence_config_last_reload_success"} {
			if value, err := b.meshfence.Metric(ctx, i, series); err != nil || value != 1 {
				return errors.Join(fmt.Errorf("replica %d: %s is %v", i, series, value), err)
			}
		}
	}
	return nil
}
