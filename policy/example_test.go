package policy_test

import (
	"fmt"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
)

// An index joins a FenceConfig with the Services and Namespaces of a cluster, and a view of it says what is fenced.
func Example() {
	config, err := policy.ParseConfig(policy.Source{File: "fenceconfig.yaml"}, []byte(`
apiVersion: config.meshfence.io/v1alpha1
kind: FenceConfig
controlPlane: {clusters: [m1c1]}
holds: [meshConfig]
scope: {namespaces: [{name: prod, fence: strict}]}
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	index := policy.NewIndex(config)
	host := hostname.Host{Namespace: "prod", Name: "orders"}
	index.SetNamespace("prod", nil)
	index.SetService(host, nil)
	decision := index.View().Service(host, nil)
	fmt.Println(decision.Fence, "by", decision.By)
	// Output: strict by config scope.namespaces[0]
}
