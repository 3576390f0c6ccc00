package install_test

import (
	"fmt"

	"github.com/meshfence/meshfence/install"
	"github.com/meshfence/meshfence/policy"
)

// The FenceConfig of a new installation is the commented example, filled in with what was found.
func Example() {
	found := install.ControlPlane{
		Clusters: []string{"m1c1"}, IstioNamespace: "istio-system", MeshConfigMaps: []string{"istio"}, ClusterDomain: "cluster.local",
	}
	configMap, err := install.FenceConfig(found, policy.Audit, "meshfence-system")
	if err != nil {
		fmt.Println(err)
		return
	}
	config, err := policy.ParseConfig(policy.ConfigMapSource(configMap.Namespace, nil), []byte(configMap.Data[policy.ConfigMapKey]))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(config.Clusters, config.Holds, config.Enforcement)
	// Output: [m1c1] meshConfig, subset audit
}
