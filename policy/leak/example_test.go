package leak_test

import (
	"fmt"

	"github.com/meshfence/meshfence/policy/leak"
)

// Each rule says what it is about, and each row of the catalogue what closes it.
func Example() {
	for _, rule := range leak.Rules() {
		if rule.ID == "virtualservice-mirror" {
			fmt.Println(rule.Severity, rule.Rows, rule.Kinds)
		}
	}
	// Output: deny [C4 C5] [VirtualService]
}
