package leak

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/meshfence/meshfence/policy"
)

// destinationRuleForeignSubset refuses a subset that names another cluster where clients of this one are sent to it
// [B8]. One that nobody here is sent to is as on the page of Istio's documentation about traffic between clusters: a
// subset for each, and routes by the cluster of the client. With several control plane clusters subset is never the only
// hold, so another one keeps the clients apart.
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
				leads := leadsToSubset(o.Object, s.Name, view)
				if leads == "" {
					continue
				}
				found = append(found, breach{
					path:  []string{"spec", "subsets", strconv.Itoa(i), "labels", policy.ClusterLabel},
					value: cluster,
					at:    "subset " + s.Name,
					host:  host,
					must:  fmt.Sprintf("be %q, because %s", clusters[0], leads),
				})
			}
			return found
		},
	}
}

// leadsToSubset says what sends clients of this cluster to a subset of a DestinationRule; empty where nothing does.
func leadsToSubset(o *policy.Object, subset string, view *policy.View) string {
	domain := view.Config().ClusterDomain
	host := strings.ToLower(policy.Resolve(o.DestinationRule.Host, o.Metadata.Namespace, domain))
	switch _, exact := policy.ParseHost(host, domain); {
	case policy.IsReservedSubset(subset):
		return "meshfence sends clients to that subset"
	case subset == "":
		return "a subset without a name is the whole host"
	case !exact:
		return "routes to any of its hosts may name the subset"
	}
	for _, other := range view.Covering(host) {
		if sendsToSubset(other, host, subset, view) {
			return fmt.Sprintf("%s %s/%s sends clients of this cluster to it", other.Kind, other.Metadata.Namespace, other.Metadata.Name)
		}
	}
	return ""
}

// sendsToSubset reports whether a VirtualService or a Sidecar sends clients of this cluster to a subset of a host.
func sendsToSubset(o *policy.Object, host, subset string, view *policy.View) bool {
	leads := func(d policy.Destination) bool {
		named := strings.ToLower(policy.Resolve(d.Host, o.Metadata.Namespace, view.Config().ClusterDomain))
		return named == host && d.Subset == subset
	}
	if o.Sidecar != nil {
		proxy := o.Sidecar.EgressProxy()
		return proxy != nil && leads(*proxy)
	}
	if o.VirtualService == nil {
		return false
	}
	for path, d := range o.VirtualService.Destinations() {
		if leads(d) && used(o.VirtualService, path, view.Config()) {
			return true
		}
	}
	return false
}
