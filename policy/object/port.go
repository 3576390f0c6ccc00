package object

import (
	"slices"
	"strings"
)

// Transport is what istiod makes of a port in a sidecar (ModelProtocolToListenerProtocol in Istio's
// pilot/pkg/networking/networking.go).
type Transport uint8

const (
	// TransportAuto is a port of no known protocol: the sidecar listens on the address and looks at what is said.
	TransportAuto Transport = iota
	// TransportHTTP shares one listener for every address with all others of the same number, and tells requests
	// apart by their Host.
	TransportHTTP
	// TransportTCP listens on the address, or on every address where there is none.
	TransportTCP
	// TransportTLS is as TransportTCP, and goes by the server name where there is no address.
	TransportTLS
	// TransportAlone is as TransportTCP, and shares its listener with no other protocol: MySQL and Mongo
	// (isConflictWithWellKnownPort in Istio's pilot/pkg/networking/core/listener.go).
	TransportAlone
	// TransportNone has no listener.
	TransportNone
)

// Open reports whether a listener for every address takes whatever comes to it.
func (t Transport) Open() bool { return t == TransportTCP || t == TransportAlone || t == TransportAuto }

// Named reports whether a listener tells by names what is for which host.
func (t Transport) Named() bool {
	return t == TransportHTTP || t == TransportTLS || t == TransportAuto
}

// transport reads a protocol as Istio spells it, in any case (Parse in Istio's pkg/config/protocol).
func transport(protocol string) Transport {
	switch strings.ToLower(protocol) {
	case "http", "http2", "http_proxy", "grpc", "grpc-web":
		return TransportHTTP
	case "tcp", "redis":
		return TransportTCP
	case "https", "tls":
		return TransportTLS
	case "mongo", "mysql":
		return TransportAlone
	case "udp":
		return TransportNone
	}
	return TransportAuto
}

// Transport returns what istiod makes of the port of a ServiceEntry or Sidecar.
func (p EntryPort) Transport() Transport { return transport(p.Protocol) }

// Transport returns what istiod makes of the port of a Service: its appProtocol counts, else what its name starts
// with (ConvertProtocol in Istio's pkg/config/kube).
func (p ServicePort) Transport() Transport {
	if p.Protocol == "UDP" {
		return TransportNone
	}
	name := p.Name
	if p.AppProtocol != nil {
		name = *p.AppProtocol
		switch name {
		case "kubernetes.io/h2c", "kubernetes.io/ws":
			return TransportHTTP
		case "kubernetes.io/wss":
			return TransportTLS
		}
	}
	name, _, _ = strings.Cut(name, "-")
	t := transport(name)
	if t == TransportAuto && slices.Contains([]int64{25, 53, 3306, 27017}, p.Port) { // whose servers speak first
		return TransportTCP
	}
	return t
}

// ExportToAnnotation is Istio's annotation on a Service that lists the Namespaces whose clients know it.
const ExportToAnnotation = "networking.istio.io/exportTo"

// ExportTo reads the annotation of a Service that lists the Namespaces whose clients know it.
func ExportTo(annotations map[string]string) []string {
	text := annotations[ExportToAnnotation]
	if text == "" {
		return nil
	}
	list := strings.Split(text, ",")
	for i, namespace := range list {
		list[i] = strings.TrimSpace(namespace)
	}
	return list
}

// Public reports whether every Namespace knows an object that has such a list of those it is exported to.
func Public(list []string) bool { return len(list) == 0 || slices.Contains(list, "*") }

// Exported reports whether clients in a Namespace know an object of another one that has such a list, as
// Kubernetes and Istio write it: none and * stand for every Namespace, a dot for its own. The empty client is
// for a Namespace that no list names.
func Exported(list []string, namespace, client string) bool {
	if Public(list) {
		return true
	}
	return client != "" && !slices.Contains(list, "~") &&
		(slices.Contains(list, client) || client == namespace && slices.Contains(list, "."))
}
