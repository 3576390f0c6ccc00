package leak

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// serviceHeadless warns of a strict Service without an address of its own, whose Pods clients choose by
// themselves [E4, F8].
func serviceHeadless() Rule {
	return Rule{
		ID:      "service-headless",
		Summary: "A strict Service should have an address of its own.",
		Why: "Clients of a headless Service choose a Pod themselves. Sidecars know its Pods in every cluster, and " +
			"pass on whatever address the client asks for. No hold can change that.",
		Fix:       "Give the Service a ClusterIP, or keep clients from the Pods of other clusters by a NetworkPolicy.",
		Rows:      []string{"E4", "F8"},
		Kinds:     []string{object.KindService},
		Severity:  Warn,
		Otherwise: "sidecars let clients reach its Pods in every cluster, and no hold can change that",
		Instead:   "give it a ClusterIP, or keep clients from the Pods of other clusters by a NetworkPolicy",
		check: func(o Write, view *policy.View) []breach {
			service, strict := strictService(o.Object, view)
			if !strict || o.Service.ClusterIP != corev1.ClusterIPNone {
				return nil
			}
			return []breach{{
				path:  []string{"spec", "clusterIP"},
				value: o.Service.ClusterIP,
				host:  service,
				must:  "not be None",
			}}
		},
	}
}
