package object

import (
	"slices"

	"github.com/meshfence/meshfence/policy/hostname"
)

// Sidecar is the part of a networking.istio.io Sidecar that is read.
type Sidecar struct {
	WorkloadSelector      *WorkloadSelector      `json:"workloadSelector"`
	Egress                []EgressListener       `json:"egress"`
	OutboundTrafficPolicy *OutboundTrafficPolicy `json:"outboundTrafficPolicy"`
}

// EgressListener says which hosts clients know, on one port or on those that the listeners before it left.
type EgressListener struct {
	Port        *EntryPort `json:"port"`
	Bind        string     `json:"bind"`
	CaptureMode string     `json:"captureMode"`
	Hosts       []string   `json:"hosts"`
}

// OutboundTrafficPolicy says where traffic for unknown hosts goes.
type OutboundTrafficPolicy struct {
	Mode        string       `json:"mode"`
	EgressProxy *Destination `json:"egressProxy"`
}

// EgressProxy returns where what is for unknown hosts goes; nil where that is its own address.
func (s *Sidecar) EgressProxy() *Destination {
	if s.OutboundTrafficPolicy == nil || s.OutboundTrafficPolicy.Mode == "REGISTRY_ONLY" {
		return nil
	}
	return s.OutboundTrafficPolicy.EgressProxy
}

// OpenPorts lists the ports for which a Sidecar has a listener of its own that takes whatever comes to it, sorted.
func (s *Sidecar) OpenPorts() []int64 {
	var ports []int64
	for _, e := range s.Egress {
		if e.Port != nil && e.Port.Transport().Open() {
			ports = append(ports, e.Port.Number)
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

// Everywhere reports whether the listener is bound to every address.
func (e EgressListener) Everywhere() bool {
	address, ok := hostname.Address(e.Bind)
	return ok && address.IsUnspecified()
}
