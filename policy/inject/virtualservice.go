package inject

import (
	"fmt"
	"slices"

	"github.com/meshfence/meshfence/policy"
)

// virtualService sends the destinations of strict hosts that name no subset to the reserved one, where
// subset is the only hold (rows A2, C1, C4 and C6). From every other destination the reserved subset goes
// again: another hold needs no route, and the DestinationRule that had the subset may be gone.
func virtualService(o *policy.Object, view *policy.View) Plan {
	config := view.Config()
	var plan Plan
	for path, destination := range o.VirtualService.Destinations() {
		if destination.Subset != "" && destination.Subset != policy.ReservedSubset {
			continue
		}
		host := policy.Resolve(destination.Host, o.Metadata.Namespace, config.ClusterDomain)
		match := view.Match(host)
		wanted := config.Holds.Only(policy.Subset) && match.Has(policy.Strict)
		switch {
		case wanted && destination.Subset == "":
			subset := slices.Concat(path, []string{"subset"})
			plan.add(subset, policy.ReservedSubset)
			plan.Gaps = append(plan.Gaps, Gap{
				Hold:  policy.Subset,
				Path:  subset,
				Value: "",
				At:    fmt.Sprintf("destination %s", host),
				Host:  match.Host(policy.Strict),
				Must:  fmt.Sprintf("be set, for example to %q", policy.ReservedSubset),
			})
		case !wanted && destination.Subset != "":
			plan.remove(slices.Concat(path, []string{"subset"}), 0)
		}
	}
	return plan
}
