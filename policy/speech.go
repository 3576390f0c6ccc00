package policy

import (
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// Speech is what the ports of a Service make sidecars expect.
type Speech struct {
	// HTTP reports whether a port carries requests, or may do so.
	HTTP bool
	// Bytes reports whether a port carries something else, or may do so.
	Bytes bool
	// TLS reports whether a port is said to carry TLS from the client.
	TLS bool
}

// With returns what either carries.
func (s Speech) With(other Speech) Speech {
	return Speech{HTTP: s.HTTP || other.HTTP, Bytes: s.Bytes || other.Bytes, TLS: s.TLS || other.TLS}
}

func (b backend) speaks() Speech { return b.speaksOn(func(backendPort) bool { return true }) }

// speaksOn returns what some of the ports carry.
func (b backend) speaksOn(some func(backendPort) bool) Speech {
	var s Speech
	for _, p := range b.ports {
		if !some(p) {
			continue
		}
		s.HTTP = s.HTTP || p.transport == object.TransportHTTP || p.transport == object.TransportAuto
		s.Bytes = s.Bytes || p.transport != object.TransportHTTP && p.transport != object.TransportNone
		s.TLS = s.TLS || p.transport == object.TransportTLS
	}
	return s
}

// SpeechOf returns what ports carry; everything where there are none.
func SpeechOf(ports []object.ServicePort) Speech {
	return newBackend(object.ServiceSpec{Ports: ports}).speech()
}

// speech returns what all ports carry; everything where there are none.
func (b backend) speech() Speech {
	if len(b.ports) == 0 {
		return Speech{HTTP: true, Bytes: true}
	}
	return b.speaks()
}

// Speaks returns what the ports of a Service carry; everything where they are not known.
func (v *View) Speaks(h hostname.Host) Speech {
	return v.speaks(h, func(backendPort) bool { return true })
}

// SpeaksOn does so for the port of a number.
func (v *View) SpeaksOn(h hostname.Host, number int64) Speech {
	return v.speaks(h, func(p backendPort) bool { return int64(p.number) == number })
}

func (v *View) speaks(h hostname.Host, some func(backendPort) bool) Speech {
	b, known := v.knownBackend(h)
	if !known || len(b.ports) == 0 {
		return Speech{HTTP: true, Bytes: true}
	}
	return b.speaksOn(some)
}
