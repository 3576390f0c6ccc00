package leak

import (
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// sidecarEgressProxyTakesHiddenHost refuses a Sidecar that sends what is for unknown hosts to a host that is not strict,
// while its clients do not know some strict one, because of its imports or of the Service's annotation [I5, I6].
func sidecarEgressProxyTakesHiddenHost() Rule {
	return Rule{
		ID:      "sidecar-egress-proxy-takes-hidden-host",
		Summary: "A Sidecar with an egress proxy that is not strict must let its clients know every strict host.",
		Why: "What is for unknown hosts goes to the egressProxy. A strict host that the Sidecar does not import, " +
			"or whose Service is not exported to these clients, is unknown to them. All its traffic goes to the " +
			"proxy, wherever that is.",
		Fix:       "Import every strict host, export its Service to these clients, or name a strict host as the proxy.",
		Rows:      []string{"I5", "I6"},
		Kinds:     []string{object.KindSidecar},
		Severity:  Deny,
		Otherwise: "all that those clients send to the host goes there, wherever that is",
		Instead:   "import every strict host, export its Service to these clients, or name a strict host",
		check: func(o Write, view *policy.View) []breach {
			var hosts []policy.FencedHost
			for _, c := range view.ClientsOf(o.Object) {
				if host, hidden := hiddenFromProxied(&c, view); hidden {
					hosts = append(hosts, host)
				}
			}
			if len(hosts) == 0 {
				return nil
			}
			return []breach{egressProxyBreach(o.Object, policy.Together(hosts...), "be a strict host while clients of this Sidecar do not know another one")}
		},
	}
}

// hiddenFromProxied returns strict hosts that clients do not know, where those send what they do not know to a host that
// is not strict.
func hiddenFromProxied(c *policy.Clients, view *policy.View) (policy.FencedHost, bool) {
	if c.Sidecar == nil || !proxiesOut(c.Sidecar, view) {
		return policy.FencedHost{}, false
	}
	return view.StrictHidden(c, policy.Ports{})
}

// proxiesOut reports whether a Sidecar sends what is for unknown hosts to one that is not strict.
func proxiesOut(o *object.Object, view *policy.View) bool {
	proxy := o.Sidecar.EgressProxy()
	return proxy != nil && !leadsToStrict(*proxy, o, view)
}

func egressProxyBreach(o *object.Object, host policy.FencedHost, must string) breach {
	return breach{
		path:  []string{"spec", "outboundTrafficPolicy", "egressProxy", "host"},
		value: o.Sidecar.EgressProxy().Host,
		host:  host,
		must:  must,
	}
}
