package leak

import (
	"fmt"
	"slices"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/meshconfig"
	"github.com/meshfence/meshfence/policy/object"
)

// meshConfigClusterLocalRemoved refuses a mesh config that does not keep a strict host in the client's cluster,
// although admission has fixed what it could: another mutator took it out again, or the text cannot be edited
// [F1, F2]. Every ConfigMap that the FenceConfig lists holds all entries, so whichever of them istiod prefers, the
// shared one included, is judged by itself. Its deletion is only warned of, so that Istio can be uninstalled.
func meshConfigClusterLocalRemoved() Rule {
	return Rule{
		ID:      "meshconfig-cluster-local-removed",
		Summary: "A mesh ConfigMap must keep every strict host in the client's cluster.",
		Why: "Hold meshConfig rests on clusterLocal entries in serviceSettings. Admission adds those that are " +
			"missing. It cannot do so if the text cannot be edited, and another webhook may take them out again. " +
			"A later or more specific entry with clusterLocal: false opens the host to every cluster. Deleting " +
			"the ConfigMap is only warned of, so that Istio can be uninstalled.",
		Fix: "Keep what meshfence writes into serviceSettings, and list no fenced host there with clusterLocal: " +
			"false.",
		Rows:      []string{"F1", "F2"},
		Guards:    policy.MeshConfig,
		Kinds:     []string{object.KindConfigMap},
		Deletions: true,
		Severity:  Deny,
		Otherwise: "clients in this cluster are sent to other clusters",
		Instead:   "keep what meshfence writes into serviceSettings, and list no host there with clusterLocal: false that is fenced",
		check: func(o Write, view *policy.View) []breach {
			config := view.Config()
			if !config.Holds.Has(policy.MeshConfig) || o.Metadata.Namespace != config.IstioNamespace || !slices.Contains(config.MeshConfigMaps, o.Metadata.Name) {
				return nil
			}
			if o.Deleted {
				return deletedMeshConfig(o.Object, view)
			}
			path := []string{"data", meshconfig.Key}
			now, err := unheld(o.Object, view)
			if err != nil {
				return []breach{{path: path, at: "unreadable", must: fmt.Sprintf("be readable, and is not: %s", err)}}
			}
			before := unheldHosts{}
			if o.Before() != nil {
				before, _ = unheld(o.Before(), view) // one that cannot be read excuses nothing
			}
			host, ok := now.firstBeside(before)
			if !ok {
				return nil
			}
			must := fmt.Sprintf("say clusterLocal: true of %s", host)
			if now.reason != nil {
				must += fmt.Sprintf(", which admission cannot do (%s)", now.reason)
			}
			match := view.Match(host)
			return []breach{{path: path, value: host, host: match.Host(policy.Strict), must: must}}
		},
	}
}

// deletedMeshConfig warns of what goes with a mesh config: the entries of strict hosts, if there is one.
func deletedMeshConfig(o *object.Object, view *policy.View) []breach {
	want := view.ClusterLocal()
	i := slices.IndexFunc(want, func(e policy.ClusterLocalEntry) bool { return e.Local })
	if i < 0 {
		return nil
	}
	match := view.Match(want[i].Host)
	return []breach{{
		path: []string{"metadata", "name"}, value: o.Metadata.Name, host: match.Host(policy.Strict), unsure: true,
		must: "stay while Services are strict, because hold meshConfig is not active without it",
	}}
}

// unheldHosts are the strict hosts and wildcards that a mesh config does not keep in the client's cluster.
type unheldHosts struct {
	hosts []string
	// reason says why admission cannot fix it; nil where it can.
	reason error
}

// firstBeside returns the first host that is not among the others.
func (u unheldHosts) firstBeside(others unheldHosts) (string, bool) {
	known := make(map[string]bool, len(others.hosts))
	for _, h := range others.hosts {
		known[h] = true
	}
	i := slices.IndexFunc(u.hosts, func(h string) bool { return !known[h] })
	if i < 0 {
		return "", false
	}
	return u.hosts[i], true
}

// unheld lists what a mesh config does not keep. The error says why it cannot be read.
func unheld(o *object.Object, view *policy.View) (unheldHosts, error) {
	wants := slices.ContainsFunc(view.ClusterLocal(), func(e policy.ClusterLocalEntry) bool { return e.Local })
	if !wants {
		return unheldHosts{}, nil
	}
	domain, data := view.Config().ClusterDomain, o.ConfigMap.Data
	effective, err := meshconfig.EffectiveClusterLocal(domain, data[meshconfig.Key])
	if err != nil {
		return unheldHosts{}, err
	}
	u := unheldHosts{hosts: effective.Lacks(view)}
	if len(u.hosts) > 0 {
		_, u.reason = meshconfig.PlanFor(data, o.Metadata.Annotations, domain, view)
	}
	return u, nil
}
