package doctor

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/meshfence/meshfence/policy"
)

// The checks that compare clusters.
const (
	checkFences  = "same-fences"
	checkConfigs = "same-settings"
	checkIDs     = "own-clusters"
)

// Compare finds in what the clusters of a fleet differ; nothing where there is but one.
func Compare(all []Observation) []Result {
	if len(all) < 2 {
		return nil
	}
	var results []Result
	for _, c := range []struct {
		id  string
		run func([]Observation) []Result
	}{{checkIDs, compareClusters}, {checkConfigs, compareSettings}, {checkFences, compareFences}} {
		for _, r := range c.run(all) {
			r.Check = c.id
			if r.Cluster == "" {
				r.Cluster = names(all)
			}
			results = append(results, r)
		}
	}
	return results
}

func names(all []Observation) string {
	var list []string
	for _, o := range all {
		list = append(list, o.Cluster)
	}
	return strings.Join(list, ", ")
}

// compareClusters finds clusters that two control planes call their own.
func compareClusters(all []Observation) []Result {
	owners := map[string][]string{}
	for _, o := range all {
		if config := o.Config.Value.InForce; config != nil {
			for _, id := range config.Clusters {
				owners[id] = append(owners[id], o.Cluster)
			}
		}
	}
	var results []Result
	for _, id := range slices.Sorted(maps.Keys(owners)) {
		if len(owners[id]) > 1 {
			r := failed(fmt.Sprintf("the FenceConfigs of %s name the same cluster: %s", strings.Join(owners[id], " and "), id),
				"put into each controlPlane.clusters the CLUSTER_ID of the istiod there")
			r.Cluster = strings.Join(owners[id], ", ")
			results = append(results, r)
		}
	}
	return or(results, "no cluster is named by two FenceConfigs")
}

// compareSettings compares what is mostly meant to be equal.
func compareSettings(all []Observation) []Result {
	var results []Result
	for _, setting := range []struct {
		name string
		of   func(Observation) string
	}{
		{"holds", func(o Observation) string { return o.Config.Value.InForce.Holds.String() }},
		{"enforcement", func(o Observation) string { return string(o.Config.Value.InForce.Enforcement) }},
		{"cluster domain", func(o Observation) string { return o.Config.Value.InForce.ClusterDomain }},
		{"image", image},
	} {
		values := map[string][]string{}
		for _, o := range all {
			if o.Config.Value.InForce != nil {
				value := setting.of(o)
				values[value] = append(values[value], o.Cluster)
			}
		}
		if len(values) > 1 {
			results = append(results, warning(fmt.Sprintf("%s: %s", setting.name, spread(values)), "make them equal, unless that is meant"))
		}
	}
	return or(results, "holds, enforcement, cluster domain and image are the same")
}

func image(o Observation) string {
	if d := o.Replicas.Value.Deployment; d != nil && len(d.Spec.Template.Spec.Containers) > 0 {
		return d.Spec.Template.Spec.Containers[0].Image
	}
	return "none"
}

// compareFences finds Services that are strict in one cluster and not in another that has them too: the istiod there still
// sends its clients here (A6).
func compareFences(all []Observation) []Result {
	var results []Result
	for _, here := range all {
		if here.Fences.Err != nil {
			results = append(results, unknown(fmt.Errorf("the fences of %s: %w", here.Cluster, here.Fences.Err))...)
			continue
		}
		for _, there := range all {
			if there.Cluster != here.Cluster && there.Fences.Err == nil {
				results = append(results, few(looser(here, there))...)
			}
		}
	}
	return or(results, "every Service that is strict in one cluster is strict wherever it exists")
}

func looser(here, there Observation) []Result {
	var results []Result
	view, config := there.Fences.Value.Index.View(), there.Fences.Value.Index.Config()
	for _, host := range here.Fences.Value.Index.Fenced("", policy.Strict) {
		match := view.Match(host.FQDN(config.ClusterDomain))
		if !view.Exists(host) || match.Has(policy.Strict) {
			continue
		}
		r := warning(fmt.Sprintf("Service %s/%s is strict in %s and not in %s: the clients there are still sent to %s (A6)",
			host.Namespace, host.Name, here.Cluster, there.Cluster, here.Cluster), "fence it in "+there.Cluster+", too")
		r.Cluster = here.Cluster + ", " + there.Cluster
		results = append(results, r)
	}
	return results
}
