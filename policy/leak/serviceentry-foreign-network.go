package leak

import (
	"strconv"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// serviceEntryForeignNetwork refuses an endpoint in another network in a ServiceEntry that claims a strict host:
// istiod puts a gateway of that network in its place, whatever cluster that is in [D6]. It speaks even where a
// user has accepted the claim by an exemption.
func serviceEntryForeignNetwork() Rule {
	return Rule{
		ID:      "serviceentry-foreign-network",
		Summary: "A ServiceEntry that claims a strict host must not have an endpoint in another network.",
		Why: "istiod puts a gateway of that network in the place of the endpoint. The gateway may be in another " +
			"cluster. This is refused even if an exemption accepts the claim itself.",
		Fix:       "Leave the network out, or name that of this cluster.",
		Rows:      []string{"D6"},
		Kinds:     []string{object.KindServiceEntry},
		Severity:  Deny,
		Otherwise: "the host's traffic goes to a gateway of that network, which may be in another cluster",
		Instead:   "leave the network out, or name that of this cluster",
		check: func(o Write, view *policy.View) []breach {
			host, strict := entryHost(o.Object, view)
			if !strict {
				return nil
			}
			var found []breach
			for i, e := range o.ServiceEntry.Endpoints {
				field, value := []string{"network"}, e.Network
				if value == "" {
					field, value = []string{"labels", NetworkLabel}, e.Labels[NetworkLabel]
				}
				if value == "" || value == view.Config().Network {
					continue
				}
				found = append(found, breach{
					path:  append([]string{"spec", "endpoints", strconv.Itoa(i)}, field...),
					value: value,
					at:    e.Address,
					host:  host,
					must:  "not be another network than this cluster's",
				})
			}
			return found
		},
	}
}
