package xds

import (
	"net/netip"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
)

// listenerIndex finds the listener that takes a connection.
type listenerIndex struct {
	exact map[netip.AddrPort]*listenerv3.Listener
	// any4 and any6 are the listeners on 0.0.0.0 and ::, by port.
	any4, any6 map[uint16]*listenerv3.Listener
	// virtual is the listener that iptables redirects to, and that takes what no other does.
	virtual *listenerv3.Listener
}

func indexListeners(listeners []*listenerv3.Listener) listenerIndex {
	index := listenerIndex{
		exact: map[netip.AddrPort]*listenerv3.Listener{},
		any4:  map[uint16]*listenerv3.Listener{}, any6: map[uint16]*listenerv3.Listener{},
	}
	for _, listener := range listeners {
		if listener.GetUseOriginalDst().GetValue() {
			index.virtual = listener
		}
		index.add(listener, listener.GetAddress())
		for _, more := range listener.GetAdditionalAddresses() {
			index.add(listener, more.GetAddress())
		}
	}
	return index
}

// add notes one address of a listener; the first listener of an address has it.
func (x *listenerIndex) add(listener *listenerv3.Listener, address *corev3.Address) {
	socket := address.GetSocketAddress()
	ip, err := netip.ParseAddr(socket.GetAddress())
	if err != nil || socket.GetProtocol() != corev3.SocketAddress_TCP {
		return
	}
	port := uint16(socket.GetPortValue())
	if !ip.IsUnspecified() {
		addFirst(x.exact, netip.AddrPortFrom(ip.Unmap(), port), listener)
		return
	}
	if ip.Is4() {
		addFirst(x.any4, port, listener)
		return
	}
	addFirst(x.any6, port, listener)
	if socket.GetIpv4Compat() {
		addFirst(x.any4, port, listener)
	}
}

func addFirst[K comparable](of map[K]*listenerv3.Listener, key K, listener *listenerv3.Listener) {
	if of[key] == nil {
		of[key] = listener
	}
}

// pick does what Envoy does with the original destination of a connection (Listener.use_original_dst): the listener
// of that very address, else the one of its port on any address, else the listener that was asked.
func (x *listenerIndex) pick(address netip.AddrPort) *listenerv3.Listener {
	address = netip.AddrPortFrom(address.Addr().Unmap(), address.Port())
	if listener := x.exact[address]; listener != nil {
		return listener
	}
	anywhere := x.any4
	if address.Addr().Is6() {
		anywhere = x.any6
	}
	if listener := anywhere[address.Port()]; listener != nil {
		return listener
	}
	return x.virtual
}
