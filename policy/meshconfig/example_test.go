package meshconfig_test

import (
	"fmt"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/meshconfig"
)

// The entries of hold meshConfig are put behind what users wrote.
func Example() {
	plan, err := meshconfig.PlanText(meshconfig.Input{
		Text:   "# ours\naccessLogFile: /dev/stdout\n",
		Domain: "cluster.local",
		Limit:  meshconfig.Limit,
		Want:   []policy.ClusterLocalEntry{{Host: "reviews.shop.svc.cluster.local", Local: true}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(plan.Text)
	// Output:
	// # ours
	// accessLogFile: /dev/stdout
	// serviceSettings:
	// - settings:
	//     clusterLocal: true
	//   hosts:
	//   - reviews.shop.svc.cluster.local
}
