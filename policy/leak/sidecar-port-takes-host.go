package leak

import "github.com/meshfence/meshfence/policy"

// sidecarPortTakesHost refuses a Sidecar with a listener of its own for a TCP port of a strict host, by which it knows
// a ServiceEntry without an address and not the host: the listener takes every address of the port, whatever protocol
// the ServiceEntry says that the port has [I11]. Whichever comes second is refused.
func sidecarPortTakesHost() Rule {
	return Rule{
		ID:       "sidecar-port-takes-host",
		Rows:     []string{"I11"},
		Kinds:    []string{policy.KindSidecar, policy.KindServiceEntry},
		Severity: Deny,
		Leaks:    "what its clients send to the host's address goes to the endpoints of the ServiceEntry",
		Mend:     "import the host on that port too, leave the port out, or give the ServiceEntry an address",
		check: func(o Write, view *policy.View) []breach {
			return caughtOf(o, view, true)
		},
	}
}
