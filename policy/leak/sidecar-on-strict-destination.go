package leak

import (
	"strconv"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// sidecarOnStrictDestination refuses a Sidecar that does what gatewayOnStrictDestination refuses of a Gateway [C17]: an
// egress listener takes what arrives at the Pods, because a defaultEndpoint leads to it or it is bound to their address.
// Strict hosts of the listener do not help, as somebody may send on what these get. Where Pods redirect nothing at all
// (interceptionMode NONE) a listener that names neither a bind nor a captureMode is not told apart from an ordinary one.
func sidecarOnStrictDestination() Rule {
	return Rule{
		ID: "sidecar-on-strict-destination",
		Summary: "An egress listener of a Sidecar must not take what arrives at the Pods of a strict Service to which " +
			"the requests of another strict host are sent.",
		Why: "The Pods then send those requests on to the hosts of that listener. No fence is about where they lead.",
		Fix: "Let defaultEndpoint lead to another port than that of an egress listener, and bind such listeners to " +
			"loopback, or first take the name of that Service out of the routes.",
		Rows:      []string{"C17"},
		Kinds:     []string{object.KindSidecar},
		Severity:  Deny,
		Otherwise: "those requests go on to wherever this listener leads",
		Instead:   "bind it to a port of loopback that no defaultEndpoint leads to, or take that name out of the routes of that VirtualService first",
		check: func(o Write, view *policy.View) []breach {
			i := o.Sidecar.SendsOn()
			if i < 0 {
				return nil
			}
			on := func(host hostname.Host) bool { return view.SendsOn(o.Object, host) }
			path := []string{"spec", "egress", strconv.Itoa(i)}
			return hops(breach{path: path, value: o.Sidecar.Egress[i].Bind, must: "not take what arrives at Pods of"}, on, view)
		},
	}
}
