package meshfence_test

import (
	"fmt"
	"strings"

	"github.com/meshfence/meshfence"
)

// The binary carries the page of every rule.
func Example() {
	title, _, _ := strings.Cut(meshfence.RulePage("virtualservice-mirror"), "\n")
	fmt.Println(title)
	// Output: # virtualservice-mirror
}
