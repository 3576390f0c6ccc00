package meshconfig_test

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/meshfence/meshfence/controller/meshconfig"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/contest"
)

// A mesh ConfigMap lacks the entry of a strict Service: the plan says what it must hold, and what to do about it now.
func Example() {
	istio := &corev1.ConfigMap{Data: map[string]string{"mesh": "trustDomain: here\n"}}
	strict := entries{{Host: "reviews.shop.svc.cluster.local", Local: true}}
	plan, err := meshconfig.PlanFor(istio, "cluster.local", strict, policy.InstallName)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(plan.Action(&contest.Record{}, time.Now()))
	fmt.Print(plan.Text)
	// Output:
	// bring
	// trustDomain: here
	// serviceSettings:
	// - settings:
	//     clusterLocal: true
	//   hosts:
	//   - reviews.shop.svc.cluster.local
}
