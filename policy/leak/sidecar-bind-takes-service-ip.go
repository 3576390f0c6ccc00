package leak

import (
	"strconv"
	"strings"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// sidecarBindTakesServiceIP refuses a listener of a Sidecar on the ClusterIP of a strict Service that has other hosts
// than strict ones [I10]. One on every address takes what its clients do not send to a listener of the Service: all
// but HTTP, and HTTP where they do not know the Service (buildSidecarOutboundListener in Istio's
// pilot/pkg/networking/core/listener.go).
func sidecarBindTakesServiceIP() Rule {
	return Rule{
		ID:      "sidecar-bind-takes-service-ip",
		Summary: "A listener of a Sidecar on the ClusterIP of a strict Service must have strict hosts alone.",
		Why: "The listener takes what clients send to that address, and sends it to its own hosts. One on every " +
			"address takes what no listener of the Service takes.",
		Fix:       "Bind to another address, or let the listener have strict hosts alone.",
		Rows:      []string{"I10"},
		Kinds:     []string{object.KindSidecar},
		Severity:  Deny,
		Otherwise: "what clients send to that address goes to the hosts of this listener",
		Instead:   "bind to another address, or let the listener have strict hosts alone",
		check: func(o Write, view *policy.View) []breach {
			var found []breach
			var clients []policy.Clients
			whole := false // whether a listener of all ports was judged: Istio takes one
			for i, e := range o.Sidecar.Egress {
				address, ok := object.Network(e.Bind)
				if !ok || importsStrict(e.Hosts, view) {
					continue
				}
				if e.Everywhere() {
					if clients == nil {
						clients = view.ClientsOf(o.Object)
					}
					if e.Port != nil || !whole {
						found = append(found, takenEverywhere(e, i, clients, view)...)
					}
					whole = whole || e.Port == nil
					continue
				}
				ports := policy.Ports{}
				if e.Port != nil {
					ports = on(e.Port.Number)
				}
				b := breach{path: []string{"spec", "egress", strconv.Itoa(i), "bind"}, value: e.Bind}
				if host, strict := view.StrictAddress(address, ports); strict {
					b.host, b.must = host, "not be the ClusterIP of a strict Service"
					found = append(found, b)
				}
			}
			return found
		},
	}
}

// takenEverywhere lists what a listener of a Sidecar takes on every address: a breach for the hosts that its clients do
// not know on one of its ports, and where it has all ports a warning for those that they know on ports of HTTP, of what is
// none.
func takenEverywhere(e object.EgressListener, index int, clients []policy.Clients, view *policy.View) []breach {
	ports, numbers := policy.Ports{}, "any port"
	if p := e.Port; p != nil {
		if p.Transport() == object.TransportHTTP {
			return nil
		}
		ports, numbers = on(p.Number), "port "+strconv.FormatInt(p.Number, 10)
	}
	b := breach{
		path:  []string{"spec", "egress", strconv.Itoa(index), "bind"},
		value: e.Bind, at: numbers,
		must:      "not be every address while its clients have no other listener for strict hosts on " + numbers,
		otherwise: "what they send to such a host goes to one of this listener with the same port",
	}
	var hosts []policy.FencedHost
	for i := range clients {
		if host, hidden := view.StrictHidden(&clients[i], ports); hidden {
			hosts = append(hosts, host)
		}
	}
	if len(hosts) > 0 {
		b.host = policy.Together(hosts...)
		return []breach{b}
	}
	if e.Port != nil {
		return nil
	}
	host, strict := view.StrictPort(policy.Ports{HTTP: true})
	if !strict {
		return nil
	}
	b.host, b.unsure = host, true
	b.must, b.otherwise = "not be every address beside ports of HTTP of a strict host", "what clients send there that is not HTTP goes to a host of this listener with the same port"
	return []breach{b}
}

// importsStrict reports whether a listener imports strict hosts alone. A wildcard for names outside of the cluster
// domain has others, and what is left out is none.
func importsStrict(hosts []string, view *policy.View) bool {
	for _, text := range hosts {
		namespace, name, _ := strings.Cut(text, "/")
		if strings.HasPrefix(namespace, "~") {
			continue
		}
		suffix, wildcard := hostname.Wildcard(name)
		if wildcard && !strings.HasSuffix(suffix, ".svc."+view.Config().ClusterDomain) {
			return false
		}
		if match := view.Match(name); !match.Only(policy.Strict) {
			return false
		}
	}
	return true
}
