package leak

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// serviceWithoutLocality warns of a strict Service without a selector under hold locality: istiod takes the locality
// of an endpoint from its Pod (NewEndpointBuilder in Istio's pilot/pkg/serviceregistry/kube/controller), and the
// distribute drops those that have none (applyLocalityWeights in its pilot/pkg/networking/core/loadbalancer). Nothing
// leaks, and so no row of the catalogue is covered. Clients of a Service without a ClusterIP choose by themselves.
func serviceWithoutLocality() Rule {
	return Rule{
		ID:      "service-without-locality",
		Summary: "A strict Service should have a selector while hold locality is active.",
		Why: "istiod takes the locality of an endpoint from its Pod. Endpoints without a Pod have none, the distribute " +
			"drops them, and calls fail. An existing endpoint that is said to be a Pod here has the locality of that " +
			"Pod, wherever its address is. The audit finds its EndpointSlice.",
		Fix:       "Let a selector choose its Pods, or loosen the fence.",
		Kinds:     []string{object.KindService},
		Severity:  Warn,
		Otherwise: "clients are sent to none of its endpoints, and calls fail, or to any address that its endpoints say is that of a Pod here",
		Instead:   "let a selector choose its Pods",
		Loosen:    "loosen its fence",
		check: func(o Write, view *policy.View) []breach {
			if !view.Config().Active().Has(policy.Locality) || len(o.Service.Selector) > 0 ||
				o.Service.Type == string(corev1.ServiceTypeExternalName) || o.Service.ClusterIP == corev1.ClusterIPNone {
				return nil
			}
			service, strict := strictService(o.Object, view)
			if !strict {
				return nil
			}
			return []breach{{
				path: []string{"spec", "selector"},
				host: service,
				must: "be set, because hold locality keeps out endpoints that no Pod gives a locality",
			}}
		},
	}
}
