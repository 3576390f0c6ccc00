package object_test

import (
	"fmt"

	"github.com/meshfence/meshfence/policy/object"
)

// The view of an object has the fields that count, and says where each is.
func Example() {
	o, err := object.Decode(object.KindVirtualService, []byte(`{
		"metadata": {"name": "reviews", "namespace": "shop"},
		"spec": {"hosts": ["reviews"], "http": [{"route": [{"destination": {"host": "reviews", "subset": "v1"}}]}]}}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	for path, destination := range o.VirtualService.Destinations() {
		fmt.Println(path, destination.Host, destination.Subset)
	}
	// Output: spec.http[0].route[0].destination reviews v1
}
