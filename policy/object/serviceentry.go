package object

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/meshfence/meshfence/policy/hostname"
)

// ServiceEntry is the part of a networking.istio.io ServiceEntry that is read.
type ServiceEntry struct {
	Hosts            []string          `json:"hosts"`
	Addresses        []string          `json:"addresses"`
	Ports            []EntryPort       `json:"ports"`
	Resolution       string            `json:"resolution"`
	Endpoints        []WorkloadEntry   `json:"endpoints"`
	WorkloadSelector *WorkloadSelector `json:"workloadSelector"`
	ExportTo         []string          `json:"exportTo"`
	// Status is the status of the object.
	Status EntryStatus `json:"-"`
}

// OpenPorts lists the ports on which a sidecar listens on every address for the ServiceEntry, because it has none or
// a network: those that are neither of HTTP, which is told apart by Host, nor of TLS, by server name.
func (e *ServiceEntry) OpenPorts() []EntryPort {
	return slices.DeleteFunc(slices.Clone(e.BarePorts()), func(p EntryPort) bool { return !p.Transport().Open() })
}

// BarePorts lists the ports of the ServiceEntry where it has no address, or a network. On each of them a listener of a
// Sidecar for that port listens on every address, by the protocol of that listener.
func (e *ServiceEntry) BarePorts() []EntryPort {
	if len(e.Addresses) > 0 && !e.HasNetwork() {
		return nil
	}
	return e.Ports
}

// Port returns the port of a number.
func (e *ServiceEntry) Port(number int64) (port EntryPort, ok bool) {
	i := slices.IndexFunc(e.Ports, func(p EntryPort) bool { return p.Number == number })
	if i < 0 {
		return EntryPort{}, false
	}
	return e.Ports[i], true
}

// TLSNetwork reports whether the ServiceEntry has a port of TLS for a network.
func (e *ServiceEntry) TLSNetwork() bool {
	return e.HasNetwork() && slices.ContainsFunc(e.Ports, func(p EntryPort) bool { return p.Transport() == TransportTLS })
}

// HasNetwork reports whether one of its addresses is more than one.
func (e *ServiceEntry) HasNetwork() bool {
	return slices.ContainsFunc(e.Addresses, func(address string) bool {
		_, ok := wide(address)
		return ok
	})
}

// Networks lists those of its addresses that are more than one.
func (e *ServiceEntry) Networks() []netip.Prefix {
	var networks []netip.Prefix
	for _, address := range e.Addresses {
		if network, ok := wide(address); ok {
			networks = append(networks, network)
		}
	}
	return networks
}

// wide returns a network that is more than one address.
func wide(address string) (netip.Prefix, bool) {
	network, ok := Network(address)
	return network, ok && !network.IsSingleIP()
}

// Network reads an address or network. That of an IPv4 address in IPv6 is the IPv4 one.
func Network(text string) (netip.Prefix, bool) {
	if !strings.Contains(text, "/") {
		address, ok := hostname.Address(text)
		return netip.PrefixFrom(address, address.BitLen()), ok
	}
	prefix, err := netip.ParsePrefix(text)
	const mapped = 128 - 32
	if address := prefix.Addr(); address.Is4In6() && prefix.Bits() >= mapped {
		prefix = netip.PrefixFrom(address.Unmap(), prefix.Bits()-mapped)
	}
	return prefix, err == nil
}

// Resolves reports whether what is sent to the ServiceEntry goes to endpoints, and not on to the address that it was
// for, as it does where no VirtualService says otherwise.
func (e *ServiceEntry) Resolves() bool { return e.Resolution != "" && e.Resolution != "NONE" }

// EntryPort is one port of a ServiceEntry, or that of a listener of a Sidecar.
type EntryPort struct {
	Number   int64  `json:"number"`
	Protocol string `json:"protocol"`
}

// EntryStatus is the part of the status of a ServiceEntry that istiod takes addresses from where the spec has none
// (GetHostAddressesFromConfig in Istio's pilot/pkg/networking/serviceentry).
type EntryStatus struct {
	Addresses []EntryAddress `json:"addresses"`
}

// EntryAddress is an address that was given to a host of a ServiceEntry.
type EntryAddress struct {
	Value string `json:"value"`
}

// decodeServiceEntry returns what decodes a ServiceEntry.
func decodeServiceEntry() decoder[ServiceEntry] {
	type view struct {
		Metadata Metadata     `json:"metadata"`
		Spec     ServiceEntry `json:"spec"`
		Status   EntryStatus  `json:"status"`
	}
	read := reader[view]()
	return func(data []byte, object *Object) (*ServiceEntry, error) {
		var v view
		if err := read(data, &v); err != nil {
			return nil, err
		}
		object.Metadata, v.Spec.Status = v.Metadata, v.Status
		return &v.Spec, nil
	}
}

// ClaimsAddress reports whether a ServiceEntry has addresses, which may be those of any Service. What istiod itself
// gives out is nobody's.
func (e *ServiceEntry) ClaimsAddress() bool {
	return len(e.Addresses) > 0 || slices.ContainsFunc(e.Status.Addresses, func(a EntryAddress) bool {
		address, ok := hostname.Address(a.Value)
		return ok && !Allocated(address)
	})
}

// Allocated reports whether an address is one of those that istiod itself gives to ServiceEntries
// (pilot/pkg/controllers/ipallocate).
func Allocated(address netip.Addr) bool {
	four, six := netip.AddrFrom4([4]byte{240, 240}), netip.AddrFrom16([16]byte{0x20, 0x01, 0, 2})
	return netip.PrefixFrom(four, 16).Contains(address) || netip.PrefixFrom(six, 48).Contains(address)
}
