package leak

import (
	"strconv"
	"strings"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// ignorePolicy is the annotation of a policy that Istio does not read.
const ignorePolicy = "istio.io/ignore-policy-attachment"

// backendPolicyDropsLocality refuses a BackendTLSPolicy for one port of a strict Service, where locality alone
// holds it: Istio makes portLevelSettings of it, which replace the distribute for that port. One for the whole
// Service adds to a DestinationRule no more than its tls (DestinationRuleCollection in
// pilot/pkg/config/kube/gateway and mergeBackendPolicyTrafficPolicy in pilot/pkg/model) [B15].
func backendPolicyDropsLocality() Rule {
	return Rule{
		ID:      "backendpolicy-drops-locality",
		Summary: "A BackendTLSPolicy for one port of a strict Service must not take away what hold locality added.",
		Why: "Istio turns a BackendTLSPolicy with a sectionName into portLevelSettings of a DestinationRule. " +
			"Settings of a port replace everything above them, also the distribute that keeps the traffic in " +
			"this cluster. A policy for the whole Service adds only its tls.",
		Fix: "Leave sectionName out, so that the policy is for every port, or set tls in portLevelSettings of a " +
			"DestinationRule of your own.",
		Rows:      []string{"B15"},
		Kinds:     []string{object.KindBackendTLSPolicy},
		Severity:  Deny,
		Otherwise: "clients of that port are sent to every cluster",
		Instead:   "leave it out, so that the policy is for every port, or set tls in portLevelSettings of a DestinationRule",
		check: func(o Write, view *policy.View) []breach {
			if strings.EqualFold(o.Metadata.Annotations[ignorePolicy], "true") {
				return nil
			}
			var found []breach
			for i, target := range o.BackendTLSPolicy.TargetRefs {
				service, ok := target.Service(o.Metadata.Namespace)
				if !ok || target.SectionName == "" {
					continue
				}
				match := view.Match(service.FQDN(view.Config().ClusterDomain))
				if match.Has(policy.Strict) {
					found = append(found, breach{
						path:  []string{"spec", "targetRefs", strconv.Itoa(i), "sectionName"},
						value: target.SectionName,
						host:  match.Host(policy.Strict),
						must:  "not be set for a strict Service",
					})
				}
			}
			return found
		},
	}
}
