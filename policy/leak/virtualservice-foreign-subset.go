package leak

import (
	"fmt"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/inject"
)

// virtualServiceForeignSubset refuses a destination of a strict host that names no subset, or the reserved
// subset of another cluster, where subset is the only hold [A2, C1, C2, C6, C13]. Every other subset is fenced in
// its DestinationRule.
func virtualServiceForeignSubset() Rule {
	return Rule{
		ID:       "virtualservice-foreign-subset",
		Rows:     []string{"A2", "C1", "C2", "C6", "C13"},
		Kinds:    []string{policy.KindVirtualService},
		Severity: Deny,
		Leaks:    "the route sends traffic to every cluster",
		Mend:     "apply the object again so that admission mends it, or name a subset",
		check: func(o Write, view *policy.View) []breach {
			found := gaps(o.Object, view, func(g inject.Gap) bool { return g.Hold == policy.Subset && !lacksRoutes(g) })
			for path, d := range o.VirtualService.Destinations() {
				if !policy.IsReservedSubset(d.Subset) || d.Subset == policy.ReservedSubset {
					continue
				}
				match := view.Match(policy.Resolve(d.Host, o.Metadata.Namespace, view.Config().ClusterDomain))
				if match.Has(policy.Strict) {
					found = append(found, breach{
						path:  append(path, "subset"),
						value: d.Subset,
						at:    "destination " + d.Host,
						host:  match.Host(policy.Strict),
						must:  fmt.Sprintf("not be the reserved subset of another cluster; this cluster's is %q", policy.ReservedSubset),
					})
				}
			}
			return found
		},
	}
}
