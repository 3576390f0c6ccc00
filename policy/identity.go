package policy

import (
	"fmt"
	"slices"
	"strings"
)

// The variable by which istiod is told which cluster it is in, and what it takes for that without it (ClusterName in Istio's
// pilot/pkg/features/pilot.go).
const (
	IstiodClusterVariable = "CLUSTER_ID"
	DefaultClusterID      = "Kubernetes"
)

// Mistakes says why the config may be for another cluster than the one that Istio knows by these ids; empty where it lists
// one of them, or none is known.
func (c *Config) Mistakes(ids []string) string {
	known := func(id string) bool { return slices.Contains(c.Clusters, id) }
	if len(ids) == 0 || slices.ContainsFunc(ids, known) {
		return ""
	}
	return fmt.Sprintf("controlPlane.clusters must list %q, by which Istio knows this cluster, and lists %q: a fence would keep traffic out of this cluster instead of in it",
		strings.Join(ids, " or "), strings.Join(c.Clusters, ", "))
}
