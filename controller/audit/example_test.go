package audit_test

import (
	"fmt"

	"github.com/meshfence/meshfence/controller/audit"
	"github.com/meshfence/meshfence/policy"
)

// A hold that the FenceConfig names is true, behind or broken, with the reason.
func Example() {
	config, err := policy.ParseConfig(policy.Source{File: "fenceconfig.yaml"}, []byte(`
apiVersion: config.meshfence.io/v1alpha1
kind: FenceConfig
controlPlane: {clusters: [m1c1]}
holds: [locality, subset]
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, hold := range audit.HoldReports(config) {
		fmt.Println(hold.Hold, hold.State, hold.Reason)
	}
	// Output:
	// locality broken the localities of cluster "m1c1" are not known: its Nodes have not been read
	// subset true
}
