package companion_test

import (
	"fmt"
	"time"

	"github.com/meshfence/meshfence/controller/companion"
	"github.com/meshfence/meshfence/policy/inject"
)

// A Service has no companion yet: the rule is made first, and the route once proxies know the rule.
func Example() {
	subset := map[string]any{"subsets": []any{map[string]any{"name": "meshfence-local"}}}
	state := companion.State{Want: inject.Companions{Rule: &inject.Companion{Spec: subset}, Route: &inject.Companion{}}}
	plan := state.Plan(10*time.Second, time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC))
	for _, write := range plan.Writes {
		fmt.Println(write.Kind)
	}
	fmt.Println("again after", plan.After)
	// Output:
	// DestinationRule
	// again after 10s
}
