package object

// The kinds that have a view. Every kind of Istio's networking group and of the Gateway API stands for all its
// versions, which share one schema.
const (
	KindService          = "Service"
	KindNamespace        = "Namespace"
	KindConfigMap        = "ConfigMap"
	KindPod              = "Pod"
	KindBinding          = "Binding"
	KindEndpoints        = "Endpoints"
	KindEndpointSlice    = "EndpointSlice"
	KindIngress          = "Ingress"
	KindIngressClass     = "IngressClass"
	KindDestinationRule  = "DestinationRule"
	KindVirtualService   = "VirtualService"
	KindServiceEntry     = "ServiceEntry"
	KindWorkloadEntry    = "WorkloadEntry"
	KindWorkloadGroup    = "WorkloadGroup"
	KindSidecar          = "Sidecar"
	KindGateway          = "Gateway"
	KindEnvoyFilter      = "EnvoyFilter"
	KindProxyConfig      = "ProxyConfig"
	KindServiceExport    = "ServiceExport"
	KindHTTPRoute        = "HTTPRoute"
	KindGRPCRoute        = "GRPCRoute"
	KindTCPRoute         = "TCPRoute"
	KindTLSRoute         = "TLSRoute"
	KindBackendTLSPolicy = "BackendTLSPolicy"
	KindWasmPlugin       = "WasmPlugin"
	KindTrafficExtension = "TrafficExtension"
	KindGatewayClass     = "GatewayClass"
	// KindAPIGateway is the Gateway of the Gateway API, which is called like Istio's: see [APIKind].
	KindAPIGateway = GatewayGroup + "/" + apiGateway
)

const apiGateway = "Gateway"

// The kinds by which the API server is told to call meshfence. They have no view.
const (
	KindMutatingConfiguration   = "MutatingWebhookConfiguration"
	KindValidatingConfiguration = "ValidatingWebhookConfiguration"
)

// Object is a read-only view of one object: the fields that meshfence reads, and nothing else. The field of
// its kind is set; a Namespace, a Pod, a Binding and a ServiceExport have metadata only.
type Object struct {
	Kind             string
	Metadata         Metadata
	Service          *ServiceSpec
	ConfigMap        *ConfigMap
	Endpoints        *Endpoints
	EndpointSlice    *EndpointSlice
	Ingress          *Ingress
	IngressClass     *IngressClass
	DestinationRule  *DestinationRule
	VirtualService   *VirtualService
	ServiceEntry     *ServiceEntry
	WorkloadEntry    *WorkloadEntry
	WorkloadGroup    *WorkloadGroup
	Sidecar          *Sidecar
	Gateway          *Gateway
	ProxyConfig      *ProxyConfig
	EnvoyFilter      *EnvoyFilter
	GatewayClass     *GatewayClass
	APIGateway       *APIGateway
	BackendTLSPolicy *BackendTLSPolicy
	// Extension is that of a WasmPlugin or TrafficExtension.
	Extension *Extension
	// Route is that of an HTTPRoute, GRPCRoute, TCPRoute or TLSRoute.
	Route *Route
	// Whole is all of a companion in JSON, for the controller that keeps it; nil of any other object.
	Whole []byte
}

// Metadata is the part of ObjectMeta that is read.
type Metadata struct {
	Namespace   string            `json:"namespace"`
	Name        string            `json:"name"`
	UID         string            `json:"uid"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// ConfigMap is the part of a core/v1 ConfigMap that is read.
type ConfigMap struct {
	Data map[string]string `json:"data"`
}

// decodeConfigMap returns what decodes a ConfigMap.
func decodeConfigMap() decoder[ConfigMap] {
	type view struct {
		ConfigMap
		Metadata Metadata `json:"metadata"`
	}
	return decodeWhole(func(v *view) (Metadata, *ConfigMap) { return v.Metadata, &v.ConfigMap })
}
