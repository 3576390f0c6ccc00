package leak

import (
	"strconv"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// serviceEntryPreferHost warns of a ServiceEntry that claims a prefer host: istiod gives its endpoints the id of this
// cluster whatever their address (convertWorkloadEntryToWorkloadInstance in Istio's
// pilot/pkg/serviceregistry/serviceentry), and so failoverPriority cannot tell them from local ones. A wildcard yields
// to the Service.
func serviceEntryPreferHost() Rule {
	return Rule{
		ID:      "serviceentry-prefer-host",
		Summary: "A ServiceEntry should not claim a prefer host.",
		Why: "istiod gives its endpoints the id of this cluster, whatever their address. failoverPriority cannot " +
			"tell them from local ones, so that they get traffic while local Pods are ready.",
		Fix:       "Choose another host, or set the fence to none.",
		Kinds:     []string{object.KindServiceEntry},
		Severity:  Warn,
		Otherwise: "its endpoints count as those of this cluster wherever they are, and get traffic while local ones are ready",
		Instead:   "choose another host",
		Loosen:    "set the fence to none",
		check: func(o Write, view *policy.View) []breach {
			var found []breach
			for i, h := range o.ServiceEntry.Hosts {
				if _, wildcard := hostname.Wildcard(h); wildcard {
					continue
				}
				if host, prefer := claimedAs(policy.Prefer, h, o.Metadata.Namespace, view); prefer {
					found = append(found, breach{
						path:  []string{"spec", "hosts", strconv.Itoa(i)},
						value: h,
						host:  host,
						must:  "not cover a prefer host",
					})
				}
			}
			return found
		},
	}
}
