package inject

import (
	"fmt"

	"github.com/meshfence/meshfence/policy"
)

// virtualService sends the destinations of strict hosts that name no subset to the reserved one, where
// subset is the only hold (rows A2, A3 and C1). The reserved subset goes again from destinations for which
// no DestinationRule has it any more.
func virtualService(o *policy.Object, view *policy.View) Plan {
	config := view.Config()
	var plan Plan
	for path, destination := range o.VirtualService.Destinations() {
		if destination.Subset != "" && destination.Subset != policy.ReservedSubset {
			continue
		}
		host := policy.Resolve(destination.Host, o.Metadata.Namespace, config.ClusterDomain)
		match := view.Match(host)
		subset := append(path[:len(path):len(path)], "subset")
		reserved := match.Has(policy.Strict) && config.Holds.Has(policy.Subset) && len(config.Clusters) == 1
		switch {
		case destination.Subset == "" && reserved && config.Holds.Only(policy.Subset):
			plan.add(subset, policy.ReservedSubset)
			plan.Gaps = append(plan.Gaps, Gap{
				Hold:  policy.Subset,
				Path:  subset,
				Value: "",
				At:    fmt.Sprintf("destination %s", host),
				Host:  match.Host(policy.Strict),
				Must:  fmt.Sprintf("be set, for example to %q", policy.ReservedSubset),
			})
		case destination.Subset == policy.ReservedSubset && !reserved:
			plan.remove(subset, 0)
		}
	}
	return plan
}
