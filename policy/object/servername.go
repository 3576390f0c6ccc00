package object

import (
	"slices"
	"strings"

	"github.com/meshfence/meshfence/policy/hostname"
)

// EastWestPort is where gateways take what clients of other networks and clusters ask for by server name (the default of
// Istio's label networking.istio.io/gatewayPort).
const EastWestPort = 15443

// Crossing is a route of a VirtualService that takes any server name on the port for other clusters: one of tls for all of
// them, or one of tcp, which looks at none.
type Crossing struct {
	Section string
	Index   int
	// Gateways are the keys of those on which it does.
	Gateways []Key
	Route    []WeightedDestination
}

// Crossings lists the routes of a VirtualService that take any server name on the port for other clusters.
func (o *Object) Crossings() []Crossing {
	var found []Crossing
	add := func(section string, index int, route []WeightedDestination, matches []ClientMatch) {
		c := Crossing{Section: section, Index: index, Route: route}
		for _, m := range matches {
			for _, name := range o.VirtualService.eastWest(m) {
				c.Gateways = append(c.Gateways, gatewayKey(name, o.Metadata.Namespace))
			}
		}
		if len(c.Gateways) > 0 {
			found = append(found, c)
		}
	}
	for i, route := range o.VirtualService.TLS {
		var matches []ClientMatch
		for _, m := range route.Match {
			if slices.Contains(m.SNIHosts, "*") {
				matches = append(matches, m.ClientMatch)
			}
		}
		add("tls", i, route.Route, matches)
	}
	for i, route := range o.VirtualService.TCP {
		matches := make([]ClientMatch, 0, 1)
		for _, m := range route.Match {
			matches = append(matches, m.ClientMatch)
		}
		if len(matches) == 0 {
			matches = append(matches, ClientMatch{})
		}
		add("tcp", i, route.Route, matches)
	}
	return found
}

// eastWest lists the gateways on whose port for other clusters there may be a match of a route.
func (v *VirtualService) eastWest(m ClientMatch) []string {
	if m.Port != 0 && m.Port != EastWestPort {
		return nil
	}
	gateways := m.Gateways
	if len(gateways) == 0 {
		gateways = v.Gateways
	}
	return slices.DeleteFunc(slices.Clone(gateways), func(name string) bool { return name == MeshGateway })
}

// Crossed lists the hosts for which TLS routes take what comes from other clusters by a wildcard that covers none of the
// hosts itself: *.<host>, and *._.<host> or such, cover the server name that sidecars give; see [hostname.ServerName].
func (v *VirtualService) Crossed() []string {
	var hosts []string
	for _, route := range v.TLS {
		for _, m := range route.Match {
			if len(v.eastWest(m.ClientMatch)) == 0 {
				continue
			}
			for _, name := range m.SNIHosts {
				suffix, wildcard := hostname.Wildcard(strings.ToLower(name))
				if host, dotted := strings.CutPrefix(suffix, "."); wildcard && dotted {
					hosts = append(hosts, host[strings.LastIndex("_."+host, "_."):])
				}
			}
		}
	}
	return hosts
}

// gatewayKey returns the Gateway that a VirtualService of a Namespace names: namespace/name, ./name, name, or as before
// name.namespace with or without a domain (resolveGatewayName in Istio's pilot/pkg/model/config.go).
func gatewayKey(text, own string) Key {
	namespace, name, qualified := strings.Cut(text, "/")
	if !qualified {
		name, namespace, _ = strings.Cut(text, ".")
		namespace, _, _ = strings.Cut(namespace, ".")
	}
	if namespace == "." || namespace == "" {
		namespace = own
	}
	return Key{KindGateway, namespace, name}
}
