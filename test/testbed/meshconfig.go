package testbed

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/retry"
)

// The ConfigMap with the mesh configuration, and its key.
const (
	meshConfigMap = "istio"
	meshConfigKey = "mesh"
)

// installedMeshConfig is what an installer writes: the shape of Istio's chart, with comments and the quotes of a
// user.
const installedMeshConfig = `# The trust domain corresponds to the trust root of a system.
trustDomain: "cluster.local"

# Configuration in this namespace counts for the whole mesh.
rootNamespace: "istio-system"

accessLogFile: /dev/stdout
enablePrometheusMerge: true
defaultConfig:
  discoveryAddress: istiod.istio-system.svc:15012
  proxyMetadata: {}   # nothing yet
outboundTrafficPolicy: {mode: ALLOW_ANY}
`

// InstallMeshConfig writes the mesh ConfigMap as an installer does, at first and with every upgrade: whatever was
// there before, in data, labels and annotations, is gone.
func (c *Cluster) InstallMeshConfig(ctx context.Context) error {
	client, err := kubernetes.NewForConfig(c.Config())
	if err != nil {
		return err
	}
	configMaps := client.CoreV1().ConfigMaps(istioNamespace)
	installed := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Name:   meshConfigMap,
			Labels: map[string]string{"istio.io/rev": "default", "app.kubernetes.io/name": "istiod"},
		},
		Data: map[string]string{"meshNetworks": "networks: {}", meshConfigKey: installedMeshConfig},
	}
	if _, err = configMaps.Create(ctx, installed, metav1.CreateOptions{}); apierrors.IsAlreadyExists(err) {
		_, err = configMaps.Update(ctx, installed, metav1.UpdateOptions{})
	}
	if err != nil {
		return fmt.Errorf("install the mesh config: %w", err)
	}
	return nil
}

// MeshConfig returns the text of the mesh configuration.
func (c *Cluster) MeshConfig(ctx context.Context) (string, error) {
	client, err := kubernetes.NewForConfig(c.Config())
	if err != nil {
		return "", err
	}
	configMap, err := client.CoreV1().ConfigMaps(istioNamespace).Get(ctx, meshConfigMap, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("read the mesh config: %w", err)
	}
	return configMap.Data[meshConfigKey], nil
}

// EditMeshConfig changes the text of the mesh configuration as a user would, and nothing else of its ConfigMap.
func (c *Cluster) EditMeshConfig(ctx context.Context, edit func(string) string) error {
	client, err := kubernetes.NewForConfig(c.Config())
	if err != nil {
		return err
	}
	configMaps := client.CoreV1().ConfigMaps(istioNamespace)
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		configMap, err := configMaps.Get(ctx, meshConfigMap, metav1.GetOptions{})
		if err != nil {
			return err
		}
		configMap.Data[meshConfigKey] = edit(configMap.Data[meshConfigKey])
		_, err = configMaps.Update(ctx, configMap, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		return fmt.Errorf("edit the mesh config: %w", err)
	}
	return nil
}
