package leak

import (
	"github.com/meshfence/meshfence/policy"
)

// sidecarEgressProxyTakesTCP warns of a Sidecar that sends what is for unknown hosts to a host that is not strict: so
// does what is sent to a port of HTTP of a strict host and is no HTTP, or a request that does not call it by one of its
// names, such as its bare name from another namespace (buildCatchAllVirtualHost in Istio's
// pilot/pkg/networking/core/httproute.go) [I7].
func sidecarEgressProxyTakesTCP() Rule {
	return Rule{
		ID:       "sidecar-egress-proxy-takes-tcp",
		Rows:     []string{"I7"},
		Kinds:    []string{policy.KindSidecar},
		Severity: Warn,
		Leaks: "what clients send to its ports of HTTP that is not HTTP, such as TLS, goes there, and so do requests whose Host is no name of it, " +
			"such as its bare name from another namespace",
		Mend: "name a strict host, or send nothing but HTTP to those ports, to a name such as <name>.<namespace>",
		check: func(o Write, view *policy.View) []breach {
			if !proxiesOut(o.Object, view) {
				return nil
			}
			host, strict := view.StrictPort(policy.Ports{HTTP: true})
			if !strict {
				return nil
			}
			return []breach{egressProxyBreach(o.Object, host, "be a strict host where others with ports of HTTP are")}
		},
	}
}
