package leak

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/meshfence/meshfence/policy"
)

// destinationRuleForeignSubset refuses a subset that names another cluster [B8]. With several control plane
// clusters subset is never the only hold, so another one keeps the clients apart.
func destinationRuleForeignSubset() Rule {
	return Rule{
		ID:       "destinationrule-foreign-subset",
		Rows:     []string{"B8"},
		Kinds:    []string{policy.KindDestinationRule},
		Severity: Deny,
		Leaks:    "routes to the subset send traffic to another cluster",
		Mend:     "remove the label, and admission adds the right one",
		check: func(o Write, view *policy.View) []breach {
			host, strict := strictHost(o.Object, view)
			if !strict {
				return nil
			}
			clusters := view.Config().Clusters // one
			var found []breach
			for i, s := range o.DestinationRule.Subsets {
				cluster, present := s.Labels[policy.ClusterLabel]
				if !present || slices.Contains(clusters, cluster) {
					continue
				}
				found = append(found, breach{
					path:  []string{"spec", "subsets", strconv.Itoa(i), "labels", policy.ClusterLabel},
					value: cluster,
					at:    "subset " + s.Name,
					host:  host,
					must:  fmt.Sprintf("be %q", clusters[0]),
				})
			}
			return found
		},
	}
}
