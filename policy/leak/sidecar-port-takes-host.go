package leak

import (
	"strconv"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// sidecarPortTakesHost refuses a Sidecar with a listener of its own for a TCP port of a strict host, by which it knows
// a ServiceEntry without an address and not the host: the listener takes every address of the port, whatever protocol
// the ServiceEntry says that the port has [I11]. Whichever comes second is refused. So is a listener of TLS for a port of
// HTTP where the Sidecar has an egress proxy: what is no TLS has no filter chain of the host there, and goes to the proxy.
func sidecarPortTakesHost() Rule {
	return Rule{
		ID:       "sidecar-port-takes-host",
		Rows:     []string{"I11"},
		Kinds:    []string{object.KindSidecar, object.KindServiceEntry},
		Severity: Deny,
		Leaks:    "what its clients send to the host's address goes to the endpoints of the ServiceEntry",
		Mend:     "import the host on that port too, leave the port out, or give the ServiceEntry an address",
		check: func(o Write, view *policy.View) []breach {
			return append(caughtOf(o, view, true), plainOnTLS(o.Object, view)...)
		},
	}
}

// plainOnTLS reports the listeners of TLS by which a Sidecar sends requests for strict hosts to its egress proxy.
func plainOnTLS(o *object.Object, view *policy.View) []breach {
	if o.Sidecar == nil || !proxiesOut(o, view) {
		return nil
	}
	var found []breach
	for i, e := range o.Sidecar.Egress {
		if e.Port == nil || e.Port.Transport() != object.TransportTLS {
			continue
		}
		if host, strict := view.StrictPort(policy.Ports{HTTP: true, Numbers: []int64{e.Port.Number}}); strict {
			found = append(found, breach{
				path:  []string{"spec", "egress", strconv.Itoa(i), "port", "protocol"},
				value: e.Port.Protocol,
				host:  host,
				must:  "be HTTP on a port of HTTP while the Sidecar has an egressProxy that is not strict",
				leaks: "all requests that clients send to the host without TLS go to the egressProxy",
				mend:  "leave the port out, or name a strict host as egressProxy",
			})
		}
	}
	return found
}
