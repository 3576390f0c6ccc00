package policy

// ServiceEntry is the part of a networking.istio.io ServiceEntry that is read.
type ServiceEntry struct {
	Hosts            []string          `json:"hosts"`
	Addresses        []string          `json:"addresses"`
	Ports            []Port            `json:"ports"`
	Endpoints        []WorkloadEntry   `json:"endpoints"`
	WorkloadSelector *WorkloadSelector `json:"workloadSelector"`
}

// WorkloadSelector chooses workloads of its own Namespace by their labels.
type WorkloadSelector struct {
	Labels map[string]string `json:"labels"`
}

// WorkloadEntry is the part of a networking.istio.io WorkloadEntry, and of an endpoint of a ServiceEntry, that
// is read.
type WorkloadEntry struct {
	Address  string            `json:"address"`
	Labels   map[string]string `json:"labels"`
	Network  string            `json:"network"`
	Locality string            `json:"locality"`
}

// WorkloadGroup is the part of a networking.istio.io WorkloadGroup that is read: what the WorkloadEntries that
// istiod makes for it will look like.
type WorkloadGroup struct {
	Metadata struct {
		Labels map[string]string `json:"labels"`
	} `json:"metadata"`
	Template WorkloadEntry `json:"template"`
}

// Sidecar is the part of a networking.istio.io Sidecar that is read.
type Sidecar struct {
	OutboundTrafficPolicy *OutboundTrafficPolicy `json:"outboundTrafficPolicy"`
}

// OutboundTrafficPolicy says where traffic for unknown hosts goes.
type OutboundTrafficPolicy struct {
	EgressProxy *Destination `json:"egressProxy"`
}

// Gateway is the part of a networking.istio.io Gateway that is read.
type Gateway struct {
	Servers []GatewayServer `json:"servers"`
}

// GatewayServer is one port of a Gateway and the hosts that it lets in.
type GatewayServer struct {
	Hosts []string    `json:"hosts"`
	TLS   *GatewayTLS `json:"tls"`
}

// GatewayTLS is a server's tls.
type GatewayTLS struct {
	Mode string `json:"mode"`
}
