package leak

import (
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// serviceEntryTakesHiddenHost refuses a ServiceEntry for a TCP port of a strict host that clients of the ServiceEntry do
// not know, because of their Sidecar or of the Service's annotation: without an address it has their sidecars listen
// on every one, the ClusterIP included [I8]. Whichever comes second is refused. Beside hosts that clients know it is
// ordinary, because their own listeners are more specific. MySQL and Mongo share a port with nothing, and so hide
// hosts on ports of HTTP themselves.
func serviceEntryTakesHiddenHost() Rule {
	return Rule{
		ID: "serviceentry-takes-hidden-host",
		Summary: "A ServiceEntry without an address must not share a port with a strict host that its clients do not " +
			"know.",
		Why: "Without an address, sidecars listen on every address of the port. The listener of a Service that " +
			"the client knows is more specific and wins. If a Sidecar or an annotation hides the Service, the " +
			"ServiceEntry takes what is sent to its ClusterIP. Whichever of the two objects comes second is " +
			"refused.",
		Fix:       "Give the ServiceEntry an address, take another port, or let the clients know the host.",
		Rows:      []string{"I8"},
		Kinds:     []string{object.KindServiceEntry, object.KindSidecar},
		Severity:  Deny,
		Otherwise: "what those clients send to the host's address goes to the endpoints of the ServiceEntry",
		Instead:   "give the ServiceEntry an address, take another port, or let the clients know the host",
		check: func(o Write, view *policy.View) []breach {
			found := caughtOf(o, view, false)
			if o.ServiceEntry == nil {
				return found
			}
			found = append(found, opened(o.Object, view, func(entry *object.Object) []policy.FencedHost {
				return takenByPort(entry, view, false)
			})...)
			for _, p := range openPorts(o.Object, view) {
				if p.Transport() != object.TransportAlone || len(o.ServiceEntry.Addresses) > 0 {
					continue
				}
				if host, strict := view.StrictPort(policy.Ports{Numbers: []int64{p.Number}, HTTP: true}); strict {
					found = append(found, breach{
						path: append(portPath(o.Object, p)[:3:3], "protocol"), value: p.Protocol, at: portPath(o.Object, p)[2], host: host,
						must: "not share its number with a port of HTTP, for which sidecars then do not listen",
					})
				}
			}
			return found
		},
	}
}
