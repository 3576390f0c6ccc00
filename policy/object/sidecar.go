package object

import (
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/meshfence/meshfence/policy/hostname"
)

// Sidecar is the part of a networking.istio.io Sidecar that is read.
type Sidecar struct {
	WorkloadSelector      *WorkloadSelector      `json:"workloadSelector"`
	Ingress               []IngressListener      `json:"ingress"`
	Egress                []EgressListener       `json:"egress"`
	OutboundTrafficPolicy *OutboundTrafficPolicy `json:"outboundTrafficPolicy"`
}

// IngressListener says where what arrives on a port of the workload goes.
type IngressListener struct {
	DefaultEndpoint string `json:"defaultEndpoint"`
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

// Bound reports whether the listener is bound to its port by its own captureMode, where nothing is redirected to it; by
// itself on loopback (buildSidecarOutboundListeners in Istio's pilot/pkg/networking/core/listener.go).
func (e EgressListener) Bound() bool { return e.CaptureMode == "NONE" }

// SendsOn returns the index of the first egress listener that takes what arrives at the workload; -1 where none does.
// What Envoy sends to its own Pod is not redirected: to loopback by a defaultEndpoint, or from 127.0.0.6 to the address
// of the Pod (buildInboundClustersFromSidecar and buildInboundCluster in Istio's pilot/pkg/networking/core, and
// tools/istio-iptables/pkg/capture).
func (s *Sidecar) SendsOn() int {
	return slices.IndexFunc(s.Egress, func(e EgressListener) bool {
		if address, ok := hostname.Address(e.Bind); ok && !address.IsLoopback() {
			return e.Bound()
		}
		return (e.Bind != "" || e.Bound()) && slices.ContainsFunc(s.Ingress, e.serves)
	})
}

// serves reports whether a listener that is bound to loopback, or to a socket of Unix, is where an ingress listener sends
// what arrives. One without a port has every port.
func (e EgressListener) serves(i IngressListener) bool {
	if strings.HasPrefix(e.Bind, "unix:") {
		return i.DefaultEndpoint == e.Bind
	}
	host, text, _ := net.SplitHostPort(i.DefaultEndpoint)
	address, ok := hostname.Address(host)
	port, err := strconv.ParseInt(text, 10, 64)
	return ok && address.IsLoopback() && err == nil && (e.Port == nil || e.Port.Number == port)
}
