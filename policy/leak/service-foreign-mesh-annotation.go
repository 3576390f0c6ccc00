package leak

import (
	"strings"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// foreignMeshAnnotation is an annotation by which another network than Istio's joins a Service with those of the
// same name in other clusters.
type foreignMeshAnnotation struct {
	key string
	// joins reports whether it does so with that value.
	joins func(value string) bool
}

// foreignMeshAnnotations are those of Cilium's cluster mesh (its pkg/annotation reads them in any case), of
// Calico's federated services and of Skupper. Cilium's service.cilium.io/shared and service.cilium.io/affinity
// say nothing without the first.
func foreignMeshAnnotations() []foreignMeshAnnotation {
	isTrue := func(value string) bool { return strings.EqualFold(value, "true") }
	isSet := func(value string) bool { return value != "" }
	return []foreignMeshAnnotation{
		{"service.cilium.io/global", isTrue},
		{"io.cilium/global-service", isTrue},
		{"federation.tigera.io/serviceSelector", isSet},
		{"skupper.io/proxy", isSet},
	}
}

// serviceForeignMeshAnnotation refuses a strict Service that a network below or beside Istio makes one of all
// clusters [E15].
func serviceForeignMeshAnnotation() Rule {
	return Rule{
		ID:      "service-foreign-mesh-annotation",
		Summary: "A strict Service must not be joined with those of other clusters by a network below Istio.",
		Why: "A network such as Cilium's cluster mesh sends the traffic of a global Service to the Pods of other " +
			"clusters. Istio does not see that, and no hold reaches it.",
		Fix:       "Remove the annotation, or loosen the fence.",
		Rows:      []string{"E15"},
		Kinds:     []string{object.KindService},
		Severity:  Deny,
		Otherwise: "that network sends its traffic to other clusters, where Istio cannot see it",
		Instead:   "remove the annotation",
		Loosen:    "loosen the fence",
		check: func(o Write, view *policy.View) []breach {
			service, strict := strictService(o.Object, view)
			if !strict {
				return nil
			}
			var found []breach
			for _, a := range foreignMeshAnnotations() {
				if value := o.Metadata.Annotations[a.key]; a.joins(value) {
					found = append(found, breach{
						path:  []string{"metadata", "annotations", a.key},
						value: value,
						at:    a.key,
						host:  service,
						must:  "not join the Service with those of other clusters",
					})
				}
			}
			return found
		},
	}
}
