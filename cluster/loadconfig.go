package cluster

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/policy"
)

// LoadConfig reads the FenceConfig from the cluster. The reader must not be a cache that has not been
// started. The error is a *policy.ConfigError where the config is there and wrong.
func LoadConfig(ctx context.Context, reader client.Reader, source policy.Source) (*policy.Config, error) {
	return loadConfig(ctx, reader, source, policy.ConfigMapName)
}

func loadConfig(ctx context.Context, reader client.Reader, source policy.Source, name string) (*policy.Config, error) {
	var object corev1.ConfigMap
	key := client.ObjectKey{Namespace: source.InstallNamespace, Name: name}
	if err := reader.Get(ctx, key, &object); err != nil {
		return nil, fmt.Errorf("get FenceConfig: %w", err)
	}
	return policy.ParseConfigMap(source, object.Data)
}

func isConfigError(err error) bool {
	_, ok := errors.AsType[*policy.ConfigError](err)
	return ok
}
