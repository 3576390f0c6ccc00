package doctor_test

import (
	"errors"
	"fmt"

	"github.com/meshfence/meshfence/doctor"
)

// The checks are pure: they judge what an Observer saw, which here is a cluster without a Deployment of meshfence. What could
// not be seen is unknown, not well.
func Example() {
	o := doctor.Observation{Cluster: "m1c1", Namespace: "meshfence-system"}
	o.Fences.Err = errors.New("services is forbidden")
	results := doctor.Examine(o)
	for _, result := range results {
		if result.Check == "replicas" || result.Check == "held" {
			fmt.Printf("%s %s: %s\n", result.Outcome, result.Check, result.Seen)
		}
	}
	fmt.Println(doctor.Worst(results))
	// Output:
	// failed replicas: there is no Deployment meshfence in namespace meshfence-system
	// unknown held: not examined: services is forbidden
	// failed
}
