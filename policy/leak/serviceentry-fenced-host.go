package leak

import (
	"strconv"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// serviceEntryFencedHost refuses a ServiceEntry that claims a strict host, in any namespace: its endpoints
// join or replace those of the Service and count as local whatever their address [D1, D2, D3, D9, D15]. A wildcard of
// one that only lets go on what it takes passes.
func serviceEntryFencedHost() Rule {
	return Rule{
		ID:      "serviceentry-fenced-host",
		Summary: "A ServiceEntry must not claim a strict host.",
		Why: "In the namespace of the Service its endpoints join those of the Service. In another namespace it " +
			"takes the place of the Service for the clients there. Either way istiod gives its endpoints the id " +
			"of this cluster, whatever their address, and they pass every hold. A name to which the DNS search " +
			"list of clients comes first does the same.",
		Fix:       "Choose another host, or a narrower wildcard.",
		Rows:      []string{"D1", "D2", "D3", "D9", "D15"},
		Kinds:     []string{object.KindServiceEntry},
		Severity:  Deny,
		Otherwise: "the endpoints of this ServiceEntry receive the host's traffic and pass for local ones",
		Instead:   "choose another host, or a narrower wildcard",
		check: func(o Write, view *policy.View) []breach {
			var found []breach
			for i, h := range o.ServiceEntry.Hosts {
				host, strict := claimedByEntry(h, o.Metadata.Namespace, view)
				if !strict || passesOn(h, o.Object) {
					continue
				}
				b := breach{
					path:  []string{"spec", "hosts", strconv.Itoa(i)},
					value: h,
					host:  host,
					must:  "not cover a strict host",
				}
				if _, ok := searched(h, view); ok {
					b.must = "not be a name to which the DNS search list of clients comes before a strict host"
					b.otherwise = "clients who ask for the host by its full name, or do not know it, may be sent to the endpoints of this ServiceEntry"
				}
				found = append(found, b)
			}
			return found
		},
	}
}
