package leak

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/object"
)

// virtualServiceForeignSubset refuses a destination of a strict host that names no subset, or the reserved
// subset of another cluster, where subset is the only hold [A2, C1, C2, C6, C13]. Every other subset is fenced in
// its DestinationRule, and what no client of this cluster is sent to is for those of others.
func virtualServiceForeignSubset() Rule {
	return Rule{
		ID:      "virtualservice-foreign-subset",
		Summary: "A destination that is a strict host must name a fenced subset where subset is the only hold.",
		Why: "A destination without a subset is the pool over all clusters. Admission adds meshfence-local to it. " +
			"The reserved subset of another cluster leads there.",
		Fix:       "Name a subset of this cluster, and let no other webhook take out what admission adds.",
		Rows:      []string{"A2", "C1", "C2", "C6", "C13"},
		Kinds:     []string{object.KindVirtualService},
		Severity:  Deny,
		Otherwise: "the route sends traffic to every cluster",
		Instead:   "name a subset, or let no other webhook take out what admission adds",
		check: func(o Write, view *policy.View) []breach {
			found := gaps(o, view, func(g inject.Gap) bool { return g.Hold == policy.Subset && !lacksRoutes(g) })
			if !namesSubset(o.VirtualService) {
				return found
			}
			routes, foreign := newRoutes(o.VirtualService, view.Config()), newForeignSubsets(view)
			for path, d := range o.VirtualService.Destinations() {
				if d.Subset == "" || d.Subset == policy.ReservedSubset || !routes.used(path) {
					continue
				}
				host := hostname.Resolve(d.Host, o.Metadata.Namespace, view.Config().ClusterDomain)
				match := view.Match(host)
				if !match.Has(policy.Strict) {
					continue
				}
				if must := foreign.of(host, d.Subset); must != "" {
					found = append(found, breach{
						path: append(path, "subset"), value: d.Subset, at: "destination " + d.Host, host: match.Host(policy.Strict), must: must,
						instead: "name a subset of this cluster",
					})
				}
			}
			return found
		},
	}
}

// foreignSubsets answers for the subsets of hosts, each of which is looked up once.
type foreignSubsets struct {
	view *policy.View
	// known holds, by host, what is wrong with its subsets.
	known map[string]map[string]string
}

func newForeignSubsets(view *policy.View) *foreignSubsets {
	return &foreignSubsets{view, map[string]map[string]string{}}
}

// of says what is wrong with a subset of a host that is of another cluster; empty for any other. One without a cluster
// label is fixed in its DestinationRule, and one that is nowhere defined reaches nothing.
func (f *foreignSubsets) of(host, subset string) string {
	if policy.IsReservedSubset(subset) {
		return fmt.Sprintf("not be the reserved subset of another cluster; this cluster's is %q", policy.ReservedSubset)
	}
	subsets, known := f.known[host]
	if known {
		return subsets[subset]
	}
	subsets = map[string]string{}
	for _, o := range f.view.Covering(strings.ToLower(host)) {
		if o.DestinationRule == nil {
			continue
		}
		for _, s := range o.DestinationRule.Subsets {
			cluster, labelled := s.Labels[policy.ClusterLabel]
			if subsets[s.Name] == "" && labelled && !slices.Contains(f.view.Config().Clusters, cluster) {
				subsets[s.Name] = fmt.Sprintf("not be a subset of cluster %q, as DestinationRule %s/%s has it", cluster, o.Metadata.Namespace, o.Metadata.Name)
			}
		}
	}
	f.known[host] = subsets
	return subsets[subset]
}
