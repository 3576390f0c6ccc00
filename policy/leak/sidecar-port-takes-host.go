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
		ID:      "sidecar-port-takes-host",
		Summary: "A listener of a Sidecar must not take a port of a strict host for a ServiceEntry without an address.",
		Why: "The Sidecar has a listener of its own for the port, and knows the ServiceEntry there and not the " +
			"host. That listener takes every address of the port, also the ClusterIP of the host. With an egress " +
			"proxy, so does a TLS listener on an HTTP port: what is not TLS goes to the proxy. Whichever of the " +
			"two objects comes second is refused.",
		Fix:       "Import the host on that port too, leave the port out, or give the ServiceEntry an address.",
		Rows:      []string{"I11"},
		Kinds:     []string{object.KindSidecar, object.KindServiceEntry},
		Severity:  Deny,
		Otherwise: "what its clients send to the host's address goes to the endpoints of the ServiceEntry",
		Instead:   "import the host on that port too, leave the port out, or give the ServiceEntry an address",
		check: func(o Write, view *policy.View) []breach {
			found := append(caughtOf(o, view, true), plainOnTLS(o.Object, view)...)
			if o.ServiceEntry == nil {
				return found
			}
			return append(found, opened(o.Object, view, func(entry *object.Object) []policy.FencedHost {
				return takenByPort(entry, view, true)
			})...)
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
				path:      []string{"spec", "egress", strconv.Itoa(i), "port", "protocol"},
				value:     e.Port.Protocol,
				host:      host,
				must:      "be HTTP on a port of HTTP while the Sidecar has an egressProxy that is not strict",
				otherwise: "all requests that clients send to the host without TLS go to the egressProxy",
				instead:   "leave the port out, or name a strict host as egressProxy",
			})
		}
	}
	return found
}
