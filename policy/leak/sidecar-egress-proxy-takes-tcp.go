package leak

import (
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// sidecarEgressProxyTakesTCP warns of a Sidecar that sends what is for unknown hosts to a host that is not strict: so
// does what is sent to a port of HTTP of a strict host and is no HTTP, or a request that does not call it by one of its
// names, such as its bare name from another namespace (buildCatchAllVirtualHost in Istio's
// pilot/pkg/networking/core/httproute.go), or TLS that no route has, where a VirtualService routes by server names [I7].
func sidecarEgressProxyTakesTCP() Rule {
	return Rule{
		ID:      "sidecar-egress-proxy-takes-tcp",
		Summary: "The egress proxy of a Sidecar should be a strict host.",
		Why: "What is sent to an HTTP port of a strict host and is not HTTP counts as unknown, and goes to the " +
			"egressProxy. So does a request that calls the host by none of its names, and TLS for a name that no " +
			"route has.",
		Fix: "Name a strict host as the proxy, or send nothing but HTTP to those ports, to a name such as " +
			"<name>.<namespace>.",
		Rows:     []string{"I7"},
		Kinds:    []string{object.KindSidecar},
		Severity: Warn,
		Otherwise: "what clients send to its ports of HTTP that is not HTTP, such as TLS, goes there, and so do requests whose Host is no name of it, " +
			"such as its bare name from another namespace",
		Instead: "name a strict host, or send nothing but HTTP to those ports, to a name such as <name>.<namespace>",
		check: func(o Write, view *policy.View) []breach {
			if !proxiesOut(o.Object, view) {
				return nil
			}
			var found []breach
			if host, strict := view.StrictPort(policy.Ports{HTTP: true}); strict {
				found = append(found, egressProxyBreach(o.Object, host, "be a strict host where others with ports of HTTP are"))
			}
			if host, strict := view.StrictTLS(); strict {
				b := egressProxyBreach(o.Object, host, "be a strict host where others with ports of TLS are")
				b.at = "TLS"
				b.otherwise = "TLS that clients send there for a server name which the routes of a VirtualService lack, such as a companion's, or for none, goes there"
				b.instead = "name a strict host, or ask for the host by its name"
				found = append(found, b)
			}
			return found
		},
	}
}
