package doctor

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/meshfence/meshfence"
	"github.com/meshfence/meshfence/install"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/meshconfig"
)

// control returns the FenceConfig in force and the mesh of its namespace, or what a check that needs them says instead. The
// control plane may be elsewhere, or in another namespace.
func (o Observation) control() (*policy.Config, install.Mesh, []Result) {
	config := o.Config.Value.InForce
	switch {
	case o.Mesh.Err != nil:
		return nil, install.Mesh{}, unknown(o.Mesh.Err)
	case config == nil:
		return nil, install.Mesh{}, unknown(errors.New("there is no FenceConfig to compare with"))
	}
	mesh := o.Mesh.Value.In(config.IstioNamespace)
	if len(mesh.Istiods) == 0 {
		return config, mesh, []Result{warning("no Deployment in namespace "+config.IstioNamespace+" has the label app=istiod: there is nothing to compare with",
			"if istiod runs in this cluster, name its namespace in controlPlane.istioNamespace")}
	}
	return config, mesh, nil
}

func checkClusterID(o Observation) []Result {
	config, mesh, results := o.control()
	if results != nil {
		return results
	}
	for _, i := range mesh.Istiods {
		if !slices.Contains(config.Clusters, i.ClusterID) {
			results = append(results, failed(fmt.Sprintf("CLUSTER_ID of %s is %s, and controlPlane.clusters of the FenceConfig is %s: holds keep traffic in a cluster of another name",
				i.Name, i.ClusterID, strings.Join(config.Clusters, ", ")), "put istiod's CLUSTER_ID into controlPlane.clusters"))
		}
	}
	return or(results, "istiod and the FenceConfig say %s", mesh.Istiods[0].ClusterID)
}

func checkMeshConfigMaps(o Observation) []Result {
	config, mesh, results := o.control()
	if results != nil {
		return results
	}
	for _, i := range mesh.Istiods {
		if name := i.MeshConfigMap(); !slices.Contains(config.MeshConfigMaps, name) {
			results = append(results, failed(fmt.Sprintf("%s reads ConfigMap %s, which controlPlane.meshConfigMaps does not name: hold meshConfig holds nothing of its clients", i.Name, name),
				"name it there and in the ClusterRole: meshfence install does both"))
		}
	}
	return or(results, "%s", strings.Join(config.MeshConfigMaps, ", "))
}

// checkMeshConfigRoom judges how much room is left for strict Services.
func checkMeshConfigRoom(o Observation) []Result {
	if o.MeshConfigs.Err != nil {
		return unknown(o.MeshConfigs.Err)
	}
	var results []Result
	var most float64
	for _, name := range slices.Sorted(maps.Keys(o.MeshConfigs.Value)) {
		full := o.MeshConfigs.Value[name].Full
		most = max(most, full)
		if full >= meshconfig.NearlyFull {
			results = append(results, warning(fmt.Sprintf("%.0f %% of what mesh ConfigMap %s may hold is taken; when it is full, further strict Services are not held by meshConfig", full*100, name),
				"fence Namespaces instead of single Services, which takes one entry for all of them"))
		}
	}
	return or(results, "at most %.0f %% of what one may hold is taken", most*100)
}

// settings are those of istiod's environment that change what the rules know, and what each means.
func settings() []struct{ name, means string } {
	return []struct{ name, means string }{
		{"AMBIENT_ENABLE_MULTI_NETWORK", "the scope of a Service (istio.io/global, serviceScopeConfigs) decides too which clusters' endpoints a client gets"},
		{"ENABLE_MCS_SERVICE_DISCOVERY", "a ServiceExport decides which endpoints other clusters get"},
		{"ENABLE_MCS_HOST", "there are names in clusterset.local, which no fence holds (G2)"},
		{"ENABLE_MCS_CLUSTER_LOCAL", "every host in cluster.local is kept in its cluster already"},
		{"ENABLE_MCS_AUTO_EXPORT", "istiod exports every Service that is not cluster-local by itself (F10)"},
		{"EXTERNAL_ISTIOD", "the workloads of other clusters may read the Istio config of this one: controlPlane.clusters must name those clusters"},
	}
}

func checkIstio(o Observation) []Result {
	config, mesh, results := o.control()
	if results != nil {
		return results
	}
	for _, i := range mesh.Istiods {
		if tested := meshfence.IstioVersion(); i.Version != "" && release(i.Version) != release(tested) {
			results = append(results, warning(fmt.Sprintf("%s is of version %s, and meshfence is tested with %s", i.Name, i.Version, tested),
				"ask istiod with meshfence verify what it really sends"))
		}
		for _, s := range settings() {
			if i.Env[s.name] == "true" {
				results = append(results, warning(fmt.Sprintf("%s of %s is true: %s", s.name, i.Name, s.means), ""))
			}
		}
		if name := i.Env["SHARED_MESH_CONFIG"]; name != "" && !slices.Contains(config.MeshConfigMaps, name) {
			results = append(results, warning(fmt.Sprintf("SHARED_MESH_CONFIG of %s is %s: serviceSettings there do not count any more once the standard ConfigMap has some (F2)", i.Name, name),
				"name it first in controlPlane.meshConfigMaps"))
		}
	}
	if slices.Contains(mesh.Unseen, install.UnseenZtunnel) {
		results = append(results, unknown(errors.New(install.UnseenZtunnel+": forbidden"))...)
	}
	if o.MeshConfigs.Err != nil {
		results = append(results, unknown(o.MeshConfigs.Err)...)
	}
	if mesh.Ambient {
		results = append(results, warning("ztunnel runs here: no hold holds what it sends", "see what meshfence cannot hold in README.md"))
	}
	var selecting []string
	for name, m := range o.MeshConfigs.Value {
		if m.Selects {
			selecting = append(selecting, name)
		}
	}
	if len(selecting) > 0 {
		results = append(results, warning("discoverySelectors are set in ConfigMap "+sorted(selecting)+": istiod does not see every namespace, and no hold rests on that (F11)", ""))
	}
	return or(results, "version %s, and no setting that changes what the rules know", mesh.Istiods[0].Version)
}

// release returns the minor release of a version, such as 1.31.
func release(version string) string {
	parts := strings.SplitN(version, ".", 3)
	return strings.Join(parts[:min(len(parts), 2)], ".")
}
