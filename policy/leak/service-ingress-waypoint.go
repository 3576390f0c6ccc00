package leak

import (
	"strings"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

const ingressWaypointLabel = "istio.io/ingress-use-waypoint"

// serviceIngressWaypoint refuses to let ingress gateways send the traffic of a strict Service to a waypoint, by a
// label on the Service or on its Namespace [E11].
func serviceIngressWaypoint() Rule {
	return Rule{
		ID:      "service-ingress-waypoint",
		Summary: "Ingress gateways must not send the traffic of a strict Service to a waypoint.",
		Why: "With the label istio.io/ingress-use-waypoint on a Service, or on the Namespace of one that has none, " +
			"istiod gives gateways the waypoints of every cluster. It does so before any subset or locality counts. " +
			"Hold meshConfig keeps waypoints to their cluster.",
		Fix:       "Remove the label, or add hold meshConfig.",
		Rows:      []string{"E11"},
		Kinds:     []string{object.KindService, object.KindNamespace},
		Severity:  Deny,
		Otherwise: "ingress gateways send its traffic to the waypoints of every cluster",
		Instead:   "remove the label, or add hold meshConfig, which keeps waypoints to their cluster",
		check: func(o Write, view *policy.View) []breach {
			value, must := o.Metadata.Labels[ingressWaypointLabel], "not be true"
			uses := usesIngressWaypoint(value)
			if value == "" && o.Service != nil {
				uses = usesIngressWaypoint(view.NamespaceLabels(o.Metadata.Namespace)[ingressWaypointLabel])
				must = "be false, because that of its Namespace is true"
			}
			if !uses {
				return nil
			}
			host, strict := strictBelow(o.Object, view)
			if !strict {
				return nil
			}
			return []breach{{
				path:  []string{"metadata", "labels", ingressWaypointLabel},
				value: value,
				host:  host,
				must:  must,
			}}
		},
	}
}

// usesIngressWaypoint reads the label as istiod does now, and as it did before
// (ingressUseWaypointFromLabels in Istio's pilot/pkg/serviceregistry/ambient/services.go).
func usesIngressWaypoint(value string) bool {
	return value == "1" || strings.EqualFold(value, "t") || strings.EqualFold(value, "true")
}

// strictBelow returns the Service that is written, or one in the Namespace that is, where its fence is strict.
func strictBelow(o *object.Object, view *policy.View) (policy.FencedHost, bool) {
	if o.Service != nil {
		return strictService(o, view)
	}
	all := hostname.Host{Namespace: o.Metadata.Name, Name: "*"}
	match := view.Match(all.FQDN(view.Config().ClusterDomain))
	return match.Host(policy.Strict), match.Has(policy.Strict)
}
