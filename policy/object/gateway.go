package object

import "strings"

// Gateway is the part of a networking.istio.io Gateway that is read.
type Gateway struct {
	Selector map[string]string `json:"selector"`
	Servers  []GatewayServer   `json:"servers"`
}

// GatewayServer is one port of a Gateway and the hosts that it lets in.
type GatewayServer struct {
	Port  GatewayPort `json:"port"`
	Hosts []string    `json:"hosts"`
	TLS   *GatewayTLS `json:"tls"`
}

// GatewayPort is a server's port.
type GatewayPort struct {
	Number   int64  `json:"number"`
	Protocol string `json:"protocol"`
}

// Opaque reports whether the server looks at nothing of what arrives, so that routes of tcp take it
// (createGatewayTCPFilterChainOpts in Istio's pilot/pkg/networking/core/gateway.go).
func (s GatewayServer) Opaque() bool {
	return s.TLS == nil && transport(s.Port.Protocol) != TransportHTTP
}

// GatewayTLS is a server's tls.
type GatewayTLS struct {
	Mode string `json:"mode"`
}

// GatewayClass is the part of a Gateway API GatewayClass that is read.
type GatewayClass struct {
	ControllerName string `json:"controllerName"`
}

// APIGateway is the part of a Gateway of the Gateway API that is read.
type APIGateway struct {
	GatewayClassName string           `json:"gatewayClassName"`
	Addresses        []GatewayAddress `json:"addresses"`
	Listeners        []Listener       `json:"listeners"`
}

// Listener is one port of a Gateway of the Gateway API.
type Listener struct {
	Port     int64        `json:"port"`
	Protocol string       `json:"protocol"`
	TLS      *ListenerTLS `json:"tls"`
}

// ListenerTLS is a listener's tls.
type ListenerTLS struct {
	Options map[string]string `json:"options"`
}

// ForNetwork reports whether clients of other networks come in by the listener: in ambient mode, or by TLS on the port that
// is for them or with the option of Istio, whatever its mode is (handleGatewayResource and IsAutoPassthrough in Istio's
// pilot/pkg/serviceregistry/kube).
func (l Listener) ForNetwork(port int64) bool {
	return l.Protocol == "HBONE" || l.TLS != nil && (l.Port == port || l.TLS.Options["gateway.istio.io/listener-protocol"] == "auto-passthrough")
}

// GatewayAddress is where a Gateway of the Gateway API is to be.
type GatewayAddress struct {
	Type  string `json:"type"`
	Value string `json:"value"`
}

// GatewayServiceAnnotation has a Gateway of Istio be for the Pods of Services, whatever its selector says. istiod uses it
// for what it makes of Gateways of the Gateway API, and takes it from users too (mergeGateways in Istio's
// pilot/pkg/model/push_context.go).
const GatewayServiceAnnotation = "internal.istio.io/gateway-service"

// gatewayNameLabel is that of the Pods that istiod makes for a Gateway of the Gateway API.
const gatewayNameLabel = "gateway.networking.k8s.io/gateway-name"

// Fronts lists the hosts of the Services of its Namespace for whose Pods a Gateway is; ok is false where it chooses Pods by
// their labels instead. One of the Gateway API that has other addresses than one IP is for the Services that these name
// (IsManaged and extractGatewayServices in Istio's pilot/pkg/config/kube).
func (o *Object) Fronts() (services []string, ok bool) {
	if o.APIGateway == nil {
		text, ok := o.Metadata.Annotations[GatewayServiceAnnotation]
		return strings.Split(text, ","), ok
	}
	for _, address := range o.APIGateway.Addresses {
		if address.Type == "Hostname" {
			services = append(services, address.Value)
		}
	}
	return services, len(o.APIGateway.Addresses) > 1 || len(services) > 0
}

// ChosenBy returns the labels by which a Gateway chooses its Pods, where [Object.Fronts] does not say more.
func (o *Object) ChosenBy() map[string]string {
	if o.APIGateway != nil {
		return map[string]string{gatewayNameLabel: o.Metadata.Name}
	}
	return o.Gateway.Selector
}
