package leak

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// destinationRuleForeignSubset refuses a subset that names another cluster where clients of this one are sent to it
// [B8]. One that nobody here is sent to is as on the page of Istio's documentation about traffic between clusters: a
// subset for each, and routes by the cluster of the client. With several control plane clusters subset is never the only
// hold, so another one keeps the clients apart.
func destinationRuleForeignSubset() Rule {
	return Rule{
		ID:      "destinationrule-foreign-subset",
		Summary: "A subset that clients of this cluster are sent to must not have the label of another cluster.",
		Why: "The label topology.istio.io/cluster chooses endpoints by their cluster. A route to the subset then " +
			"sends every request to that other cluster. A subset that no client of this cluster is sent to " +
			"passes.",
		Fix:       "Remove the label. Admission adds the label of this cluster.",
		Rows:      []string{"B8"},
		Kinds:     []string{object.KindDestinationRule},
		Severity:  Deny,
		Otherwise: "routes to the subset send traffic to another cluster",
		Instead:   "remove the label, and admission adds the right one",
		check: func(o Write, view *policy.View) []breach {
			host, strict := strictHost(o.Object, view)
			if !strict {
				return nil
			}
			clusters := view.Config().Clusters // one
			var found []breach
			senders := subsetSenders{rule: o.Object, view: view}
			for i, s := range o.DestinationRule.Subsets {
				cluster, present := s.Labels[policy.ClusterLabel]
				if !present || slices.Contains(clusters, cluster) {
					continue
				}
				leads := senders.to(s.Name)
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

// subsetSenders answers for the subsets of a DestinationRule, once something is asked for.
type subsetSenders struct {
	rule *object.Object
	view *policy.View
	// known holds, by subset, what sends clients of this cluster there.
	known map[string]string
}

// to says what sends clients of this cluster to a subset; empty where nothing does.
func (s *subsetSenders) to(subset string) string {
	domain := s.view.Config().ClusterDomain
	host := strings.ToLower(hostname.Resolve(s.rule.DestinationRule.Host, s.rule.Metadata.Namespace, domain))
	switch _, exact := hostname.Parse(host, domain); {
	case policy.IsReservedSubset(subset):
		return "meshfence sends clients to that subset"
	case subset == "":
		return "a subset without a name is the whole host"
	case !exact:
		return "routes to any of its hosts may name the subset"
	}
	if s.known == nil {
		s.known = map[string]string{}
		for _, other := range s.view.Covering(host) {
			s.add(other, host)
		}
	}
	return s.known[subset]
}

// add notes the subsets of a host to which a VirtualService or a Sidecar sends clients of this cluster.
func (s *subsetSenders) add(o *object.Object, host string) {
	leads := func(d object.Destination) {
		named := strings.ToLower(hostname.Resolve(d.Host, o.Metadata.Namespace, s.view.Config().ClusterDomain))
		if named == host && s.known[d.Subset] == "" {
			s.known[d.Subset] = fmt.Sprintf("%s %s/%s sends clients of this cluster to it", o.Kind, o.Metadata.Namespace, o.Metadata.Name)
		}
	}
	if o.Sidecar != nil {
		if proxy := o.Sidecar.EgressProxy(); proxy != nil {
			leads(*proxy)
		}
		return
	}
	if o.VirtualService == nil {
		return
	}
	routes := newRoutes(o.VirtualService, s.view.Config())
	for path, d := range o.VirtualService.Destinations() {
		if routes.used(path) {
			leads(d)
		}
	}
}
