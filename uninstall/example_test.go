package uninstall_test

import (
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/meshfence/meshfence/uninstall"
)

// What admission put into an object is taken back; what a user wrote stays.
func Example() {
	planner := uninstall.NewPlanner("cluster.local")
	var rule unstructured.Unstructured
	data, err := yaml.YAMLToJSON([]byte(labelledRule))
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := json.Unmarshal(data, &rule); err != nil {
		fmt.Println(err)
		return
	}
	if err := planner.Add(&rule); err != nil {
		fmt.Println(err)
		return
	}
	for _, change := range planner.Plan().Changes {
		fmt.Println(change.Kind, change.Namespace, change.Name)
		for _, detail := range change.Details {
			fmt.Println(detail)
		}
	}
	// Output:
	// DestinationRule shop reviews
	// remove spec.subsets[0].labels[topology.istio.io/cluster]
	// remove spec.subsets[1]
	// remove metadata.annotations[meshfence.io/injected]
}
