package object

import (
	"slices"
	"strings"

	"github.com/meshfence/meshfence/policy/hostname"
)

// EastWestPort is where gateways take what clients of other networks and clusters ask for by server name (the default of
// Istio's label networking.istio.io/gatewayPort).
const EastWestPort = 15443

// AnyServerName lists the Gateways on which a TLS route of a VirtualService takes any server name on the port for other
// clusters, as their keys.
func (o *Object) AnyServerName(route TLSRoute) []Key {
	var keys []Key
	for _, m := range route.Match {
		if !slices.Contains(m.SNIHosts, "*") {
			continue
		}
		for _, name := range o.VirtualService.eastWest(m) {
			keys = append(keys, gatewayKey(name, o.Metadata.Namespace))
		}
	}
	return keys
}

// eastWest lists the gateways on whose port for other clusters there may be a match of a TLS route.
func (v *VirtualService) eastWest(m TLSMatch) []string {
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
			if len(v.eastWest(m)) == 0 {
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
