package leak

import (
	"strconv"

	"github.com/meshfence/meshfence/policy"
)

// serviceEntryFencedHost refuses a ServiceEntry that claims a strict host, in any namespace: its endpoints
// join or replace those of the Service and count as local whatever their address [D1, D2, D3, D9]. Istio
// takes the hosts of a ServiceEntry as they are written.
func serviceEntryFencedHost() Rule {
	return Rule{
		ID:       "serviceentry-fenced-host",
		Rows:     []string{"D1", "D2", "D3", "D9"},
		Kinds:    []string{policy.KindServiceEntry},
		Severity: Deny,
		Leaks:    "its endpoints receive that host's traffic and pass for local ones",
		Mend:     "choose another host, or narrow the wildcard",
		check: func(o *policy.Object, view *policy.View) []breach {
			var found []breach
			for i, h := range o.ServiceEntry.Hosts {
				match := view.Match(h)
				if match.Has(policy.Strict) {
					found = append(found, breach{
						path:  []string{"spec", "hosts", strconv.Itoa(i)},
						value: h,
						host:  match.Host(policy.Strict),
						must:  "not cover a strict host",
					})
				}
			}
			return found
		},
	}
}
