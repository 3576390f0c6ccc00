package leak

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/inject"
)

// virtualServiceForeignSubset refuses a destination of a strict host that names no subset, or the reserved
// subset of another cluster, where subset is the only hold [A2, C1, C2, C6, C13]. Every other subset is fenced in
// its DestinationRule, and what no client of this cluster is sent to is for those of others.
func virtualServiceForeignSubset() Rule {
	return Rule{
		ID:       "virtualservice-foreign-subset",
		Rows:     []string{"A2", "C1", "C2", "C6", "C13"},
		Kinds:    []string{policy.KindVirtualService},
		Severity: Deny,
		Leaks:    "the route sends traffic to every cluster",
		Mend:     "name a subset, or let no other webhook take out what admission adds",
		check: func(o Write, view *policy.View) []breach {
			found := gaps(o, view, func(g inject.Gap) bool { return g.Hold == policy.Subset && !lacksRoutes(g) })
			for path, d := range o.VirtualService.Destinations() {
				if d.Subset == "" || d.Subset == policy.ReservedSubset || !used(o.VirtualService, path, view.Config()) {
					continue
				}
				host := policy.Resolve(d.Host, o.Metadata.Namespace, view.Config().ClusterDomain)
				match := view.Match(host)
				if !match.Has(policy.Strict) {
					continue
				}
				if must := foreignSubset(host, d.Subset, view); must != "" {
					found = append(found, breach{
						path: append(path, "subset"), value: d.Subset, at: "destination " + d.Host, host: match.Host(policy.Strict), must: must,
					})
				}
			}
			return found
		},
	}
}

// foreignSubset says what is wrong with a subset of a host that is of another cluster; empty for any other. One
// without a cluster label is mended in its DestinationRule, and one that is nowhere defined reaches nothing.
func foreignSubset(host, subset string, view *policy.View) string {
	if policy.IsReservedSubset(subset) {
		return fmt.Sprintf("not be the reserved subset of another cluster; this cluster's is %q", policy.ReservedSubset)
	}
	for _, o := range view.Covering(strings.ToLower(host)) {
		if o.DestinationRule == nil {
			continue
		}
		for _, s := range o.DestinationRule.Subsets {
			cluster, labelled := s.Labels[policy.ClusterLabel]
			if s.Name == subset && labelled && !slices.Contains(view.Config().Clusters, cluster) {
				return fmt.Sprintf("not be a subset of cluster %q, as DestinationRule %s/%s has it", cluster, o.Metadata.Namespace, o.Metadata.Name)
			}
		}
	}
	return ""
}
