package leak

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/meshfence/meshfence/policy"
)

// serviceEntryServiceIP refuses a ServiceEntry, in any namespace, that claims the ClusterIP of a strict Service on
// one of its ports: of the two the older one gets what is sent there [D8]. Ports that the Service does not have
// take nothing from it, so that a wide network for another port passes.
func serviceEntryServiceIP() Rule {
	return Rule{
		ID:       "serviceentry-service-ip",
		Rows:     []string{"D8"},
		Kinds:    []string{policy.KindServiceEntry},
		Severity: Deny,
		Leaks:    "what clients send to that address goes to the endpoints of this ServiceEntry",
		Mend:     "leave the address out, list narrower networks, or take another port",
		check: func(o Write, view *policy.View) []breach {
			ports := make([]int64, 0, len(o.ServiceEntry.Ports))
			for _, p := range o.ServiceEntry.Ports {
				ports = append(ports, p.Number)
			}
			slices.Sort(ports)
			var found []breach
			for i, address := range o.ServiceEntry.Addresses {
				prefix, ok := network(address)
				if !ok {
					continue
				}
				if host, strict := view.StrictAddress(prefix, policy.Ports{Numbers: ports}); strict {
					found = append(found, breach{
						path:  []string{"spec", "addresses", strconv.Itoa(i)},
						value: address,
						at:    fmt.Sprint(ports),
						host:  host,
						must:  "not contain the ClusterIP of a strict Service on a port of that Service",
					})
				}
			}
			return found
		},
	}
}

// network reads an address or network. That of an IPv4 address in IPv6 is the IPv4 one.
func network(text string) (netip.Prefix, bool) {
	if !strings.Contains(text, "/") {
		address, err := netip.ParseAddr(text)
		address = address.Unmap()
		return netip.PrefixFrom(address, address.BitLen()), err == nil
	}
	prefix, err := netip.ParsePrefix(text)
	const mapped = 128 - 32
	if address := prefix.Addr(); address.Is4In6() && prefix.Bits() >= mapped {
		prefix = netip.PrefixFrom(address.Unmap(), prefix.Bits()-mapped)
	}
	return prefix, err == nil
}
