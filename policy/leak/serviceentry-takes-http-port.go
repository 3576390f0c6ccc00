package leak

import (
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// serviceEntryTakesHTTPPort warns of a ServiceEntry without an address for a TCP port of the number of one of HTTP of
// a strict host: what is sent there and is no HTTP goes to the ServiceEntry [D12].
func serviceEntryTakesHTTPPort() Rule {
	return Rule{
		ID:      "serviceentry-takes-http-port",
		Summary: "A ServiceEntry without an address should not share a port number with an HTTP port of a strict host.",
		Why: "What clients send there that is not HTTP, such as TLS, matches no route of the host. The TCP " +
			"listener of the ServiceEntry takes it.",
		Fix:       "Give the ServiceEntry an address, or take another port.",
		Rows:      []string{"D12"},
		Kinds:     []string{object.KindServiceEntry},
		Severity:  Warn,
		Otherwise: "what clients send there that is not HTTP, such as TLS, goes to the endpoints of this ServiceEntry",
		Instead:   "give the ServiceEntry an address, or take another port",
		check: func(o Write, view *policy.View) []breach {
			if len(o.ServiceEntry.Addresses) > 0 {
				return nil
			}
			var found []breach
			for _, p := range openPorts(o.Object, view) {
				host, strict := view.StrictPort(policy.Ports{Numbers: []int64{p.Number}, HTTP: true})
				if !strict || p.Transport() == object.TransportAlone {
					continue
				}
				found = append(found, breach{
					path: portPath(o.Object, p), value: p.Number, host: host,
					must: "not be a port of HTTP of a strict host",
				})
			}
			return found
		},
	}
}
