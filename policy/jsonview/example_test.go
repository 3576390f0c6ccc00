package jsonview_test

import (
	"fmt"

	"github.com/meshfence/meshfence/policy/jsonview"
)

// A view names what is read of an object; everything else is only stepped over.
func ExampleReader() {
	type rule struct {
		Spec struct {
			Host   string           `json:"host"`
			Policy jsonview.Present `json:"trafficPolicy"`
		} `json:"spec"`
	}
	read := jsonview.Reader[rule]()
	var r rule
	err := read([]byte(`{"kind": "DestinationRule", "spec": {"host": "reviews", "trafficPolicy": {"tls": {}}}}`), &r)
	fmt.Println(r.Spec.Host, r.Spec.Policy, err)
	// Output: reviews true <nil>
}
