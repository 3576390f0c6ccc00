package hostname

import (
	"net/netip"
	"strings"
)

// IsAddress reports whether a host is an IP address.
func IsAddress(host string) bool {
	_, ok := Address(host)
	return ok
}

// Address reads a host that is an IP address. That of an IPv4 address in IPv6 is the IPv4 one.
func Address(host string) (netip.Addr, bool) {
	address, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return address.WithZone("").Unmap(), err == nil
}
