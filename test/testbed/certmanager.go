package testbed

import (
	"context"
	"fmt"

	"k8s.io/client-go/rest"
)

// CertManagerTools names what [Cluster.StartCertManager] needs, for [Main] and [Run].
func CertManagerTools() []string { return []string{"cert-manager", "cert-manager-crds"} }

// StartCertManager installs cert-manager's CustomResourceDefinitions and starts its controllers and its cainjector as
// the cluster administrator. It returns when they run; they end with the cluster.
func (c *Cluster) StartCertManager(ctx context.Context) error {
	crds, err := Tool("cert-manager-crds")
	if err != nil {
		return err
	}
	if err := c.installCRDs(ctx, []string{crds}); err != nil {
		return err
	}
	health := fmt.Sprintf("%s:9402", c.Address)
	return c.run(ctx, "cert-manager", c.healthy(&rest.Config{Host: "http://" + health}, "/healthz"),
		"--kubeconfig="+c.Kubeconfig,
		"--health-address="+health,
	)
}
