package object

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
	GatewayClassName string `json:"gatewayClassName"`
}
