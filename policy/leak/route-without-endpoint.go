package leak

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// routeWithoutEndpoint warns of a route that the fence of a strict host empties: it leads clients here to a subset of
// another cluster, whose endpoints every hold takes away. Whichever of the VirtualService and the DestinationRule comes
// second is warned of. A route that sourceLabels keep to clients of other clusters is none of this cluster's, and
// where subset is the only hold virtualservice-foreign-subset refuses the label of the cluster.
func routeWithoutEndpoint() Rule {
	return Rule{
		ID:      "route-without-endpoint",
		Summary: "A route should not lead clients here to a subset that the fence empties.",
		Why: "The subset has the label of another cluster, and every hold takes those endpoints away from clients " +
			"of this one. Nothing leaks, but the requests fail. Whichever of the VirtualService and the " +
			"DestinationRule comes second is warned of.",
		Fix:       "Route to a subset of this cluster, or set the fence of the host to none.",
		Kinds:     []string{object.KindVirtualService, object.KindDestinationRule},
		Severity:  Warn,
		Otherwise: "the route has no endpoint, and its requests fail",
		Instead:   "route to a subset of this cluster",
		Loosen:    "set the fence of the host to none",
		check: func(o Write, view *policy.View) []breach {
			config := view.Config()
			held := config.Active().Routing()
			if held == 0 {
				return nil
			}
			e := emptied{view: view, config: config, refused: held.Only(policy.Subset), known: map[string]map[string]string{}}
			if o.DestinationRule != nil {
				return e.rule(o.Object)
			}
			return e.routes(o.Object)
		},
	}
}

// emptied finds what a fence leaves without an endpoint.
type emptied struct {
	view   *policy.View
	config *policy.Config
	// refused reports whether another rule refuses what has the label of another cluster.
	refused bool
	// known holds, by host, what is wrong with its subsets.
	known map[string]map[string]string
}

// routes judges the destinations of a VirtualService.
func (e *emptied) routes(o *object.Object) []breach {
	if !namesSubset(o.VirtualService) {
		return nil
	}
	var found []breach
	for path, d := range e.here(o) {
		host := hostname.Resolve(d.Host, o.Metadata.Namespace, e.config.ClusterDomain)
		match := e.view.Match(host)
		if !match.Has(policy.Strict) {
			continue
		}
		if must := e.subset(host, d.Subset); must != "" {
			found = append(found, breach{
				path: append(path, "subset"), value: d.Subset, at: "destination " + d.Host, host: match.Host(policy.Strict), must: must,
			})
		}
	}
	return found
}

// here yields the destinations of a VirtualService that name a subset of their own and that clients of this control
// plane may come to, with their paths.
func (e *emptied) here(o *object.Object) iter.Seq2[object.Path, object.Destination] {
	routes := newRoutes(o.VirtualService, e.config)
	return func(yield func(object.Path, object.Destination) bool) {
		for path, d := range o.VirtualService.Destinations() {
			if d.Subset != "" && !policy.IsReservedSubset(d.Subset) && routes.used(path) && !yield(path, d) {
				return
			}
		}
	}
}

// subset says what is wrong with a subset of a host that only another cluster has; empty for any other.
func (e *emptied) subset(host, name string) string {
	subsets, known := e.known[host]
	if !known {
		subsets = e.subsets(host)
		e.known[host] = subsets
	}
	return subsets[name]
}

// subsets returns what is wrong with each subset of a host that only another cluster has.
func (e *emptied) subsets(host string) map[string]string {
	wrong := map[string]string{}
	for _, o := range e.view.Covering(host) {
		if o.DestinationRule == nil {
			continue
		}
		keys := e.clusterKeys(o.DestinationRule)
		for _, s := range o.DestinationRule.Subsets {
			if key, value, other := e.other(s, keys); other && wrong[s.Name] == "" {
				wrong[s.Name] = fmt.Sprintf("not be a subset of another cluster, and DestinationRule %s/%s has %s: %s in it",
					o.Metadata.Namespace, o.Metadata.Name, key, value)
			}
		}
	}
	return wrong
}

// rule judges the subsets of a DestinationRule to which a VirtualService leads.
func (e *emptied) rule(o *object.Object) []breach {
	host, strict := strictHost(o, e.view)
	if !strict {
		return nil
	}
	keys, others := e.clusterKeys(o.DestinationRule), map[string]int{}
	for i, s := range o.DestinationRule.Subsets {
		if _, _, other := e.other(s, keys); other {
			others[s.Name] = i
		}
	}
	if len(others) == 0 {
		return nil
	}
	var found []breach
	name := hostname.Resolve(o.DestinationRule.Host, o.Metadata.Namespace, e.config.ClusterDomain)
	for _, route := range e.view.Covering(name) {
		if route.VirtualService == nil {
			continue
		}
		for _, d := range e.here(route) {
			i, other := others[d.Subset]
			if !other || hostname.Resolve(d.Host, route.Metadata.Namespace, e.config.ClusterDomain) != name {
				continue
			}
			delete(others, d.Subset) // one route is enough
			s := o.DestinationRule.Subsets[i]
			key, value, _ := e.other(s, keys)
			found = append(found, breach{
				path: []string{"spec", "subsets", strconv.Itoa(i), "labels", key}, value: value, at: "subset " + s.Name, host: host,
				must: fmt.Sprintf("not be another cluster while VirtualService %s/%s leads to the subset", route.Metadata.Namespace, route.Metadata.Name),
			})
		}
	}
	return found
}

// other returns the label by which a subset selects the Pods of another cluster alone: the one that istiod gives each
// endpoint, or one of the Pods that names clusters.
func (e *emptied) other(s object.RuleSubset, keys map[string]bool) (key, value string, ok bool) {
	if cluster, labelled := s.Labels[policy.ClusterLabel]; labelled && !slices.Contains(e.config.Clusters, cluster) {
		return policy.ClusterLabel, cluster, !e.refused
	}
	for _, key := range slices.Sorted(maps.Keys(s.Labels)) {
		value := s.Labels[key]
		_, listed := e.config.Localities[value]
		if (keys[key] || listed) && !slices.Contains(e.config.Clusters, value) {
			return key, value, true
		}
	}
	return "", "", false
}

// clusterKeys returns the labels by which a subset of the rule selects the Pods of a cluster of this control plane, so
// that other values of theirs are other clusters.
func (e *emptied) clusterKeys(rule *object.DestinationRule) map[string]bool {
	keys := map[string]bool{}
	for _, s := range rule.Subsets {
		for key, value := range s.Labels {
			if key != policy.ClusterLabel && slices.Contains(e.config.Clusters, value) {
				keys[key] = true
			}
		}
	}
	return keys
}
