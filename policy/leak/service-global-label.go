package leak

import (
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// globalLabel is what Istio's profile ambient goes by: the value "true", and no other, makes a Service global
// (serviceScopeConfigs in manifests/helm-profiles/ambient.yaml).
const globalLabel = "istio.io/global"

// serviceGlobalLabel refuses a strict Service that ambient mode takes for one of all clusters
// [E12a, E12b, E12c].
func serviceGlobalLabel() Rule {
	return Rule{
		ID:      "service-global-label",
		Summary: "A strict Service must not be global for ambient mode.",
		Why: "ztunnel and waypoints send the traffic of a Service with the label istio.io/global to the Pods of " +
			"every cluster. That holds for a local Service behind a global waypoint too.",
		Fix:       "Remove the label, or loosen the fence.",
		Rows:      []string{"E12a", "E12b", "E12c"},
		Kinds:     []string{object.KindService},
		Severity:  Deny,
		Otherwise: "ztunnel and waypoints send its traffic to the Pods of every cluster",
		Instead:   "remove the label",
		Loosen:    "loosen the fence",
		check: func(o Write, view *policy.View) []breach {
			service, strict := strictService(o.Object, view)
			if !strict || o.Metadata.Labels[globalLabel] != "true" {
				return nil
			}
			return []breach{{
				path:  []string{"metadata", "labels", globalLabel},
				value: o.Metadata.Labels[globalLabel],
				host:  service,
				must:  "not be true",
			}}
		},
	}
}
