package testbed

import (
	"context"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// istioNamespace is where istiod would run.
const istioNamespace = "istio-system"

// The ports of istiod, on the address of its cluster.
const (
	istiodXDS        = 15010
	istiodHTTP       = 15080
	istiodHTTPS      = 15017
	istiodMonitoring = 15014
)

func (c *Cluster) istiodAddress(port uint16) string {
	return netip.AddrPortFrom(c.Address, port).String()
}

// startIstiod starts the istiod of a cluster. Its certificate authority, webhooks and Gateway API support are off; the
// mesh configuration comes from the ConfigMap, so that it follows changes.
func (c *Cluster) startIstiod(ctx context.Context, env []string) (*Process, error) {
	path, err := Tool(ToolIstiod)
	if err != nil {
		return nil, err
	}
	return StartProcess(ctx, Command{
		Name: "istiod",
		Path: path,
		Args: []string{
			"discovery",
			"--kubeconfig=" + c.Kubeconfig,
			"--registries=Kubernetes",
			"--clusterID=" + c.Name,
			"--grpcAddr=" + c.istiodAddress(istiodXDS),
			"--httpAddr=" + c.istiodAddress(istiodHTTP),
			"--httpsAddr=" + c.istiodAddress(istiodHTTPS),
			"--secureGRPCAddr=",
			"--monitoringAddr=" + c.istiodAddress(istiodMonitoring),
			"--ctrlz_address=" + c.Address.String(),
		},
		Env: append([]string{
			"POD_NAMESPACE=" + istioNamespace,
			"POD_NAME=istiod-" + c.Name,
			"CLUSTER_ID=" + c.Name,
			"REVISION=default",
			"INJECTION_WEBHOOK_CONFIG_NAME=",
			"VALIDATION_WEBHOOK_CONFIG_NAME=",
			"ENABLE_CA_SERVER=false",
			"PILOT_CERT_PROVIDER=none",
			"PILOT_ENABLE_GATEWAY_API=false",
			// Tests ask for whole configurations far more often than proxies do.
			"PILOT_MAX_REQUESTS_PER_SECOND=1000",
		}, env...),
		Dir:   c.dir,
		Ready: c.healthy(&rest.Config{Host: "http://" + c.istiodAddress(istiodHTTP)}, "/ready"),
	})
}

// Debug returns what the istiod that serves a cluster's workloads answers under /debug, such as configz: what it has
// read so far.
func (m *Mesh) Debug(ctx context.Context, c *Cluster, page string) ([]byte, error) {
	if m.options.Shared {
		c = m.Clusters[0]
	}
	client, err := kubernetes.NewForConfig(&rest.Config{Host: "http://" + c.istiodAddress(istiodHTTP), QPS: -1})
	if err != nil {
		return nil, err
	}
	answer, err := client.RESTClient().Get().AbsPath("/debug/" + page).DoRaw(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask istiod of %s for %s: %w", c.Name, page, err)
	}
	return answer, nil
}

// addRemote lets the istiod of c read another cluster, as `istioctl create-remote-secret` does.
func (c *Cluster) addRemote(ctx context.Context, remote *Cluster) error {
	config, err := clientcmd.LoadFromFile(remote.Kubeconfig)
	if err != nil {
		return err
	}
	if err := clientcmdapi.FlattenConfig(config); err != nil {
		return fmt.Errorf("flatten the kubeconfig of %s: %w", remote.Name, err)
	}
	kubeconfig, err := clientcmd.Write(*config)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(c.Config())
	if err != nil {
		return err
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name:        "istio-remote-secret-" + remote.Name,
			Labels:      map[string]string{"istio/multiCluster": "true"},
			Annotations: map[string]string{"networking.istio.io/cluster": remote.Name},
		},
		Data: map[string][]byte{remote.Name: kubeconfig},
	}
	if _, err := client.CoreV1().Secrets(istioNamespace).Create(ctx, secret, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create remote secret for %s: %w", remote.Name, err)
	}
	return nil
}
