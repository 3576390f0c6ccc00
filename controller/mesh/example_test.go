package mesh_test

import (
	"fmt"

	"github.com/meshfence/meshfence/controller/mesh"
)

// Routes may lead to a reserved subset only where every DestinationRule for the host has it.
func Example() {
	rules := []mesh.Rule{{Name: "reviews", Reserved: true}, {Name: "reviews-canary"}}
	fmt.Println(mesh.Lacking(rules))
	// Output: reviews-canary
}
