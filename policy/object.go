package policy

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

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
	KindAPIGateway = gatewayGroup + "/" + apiGateway
)

const apiGateway = "Gateway"

// APIKind returns the name that a kind has in its API group.
func APIKind(kind string) string {
	return kind[strings.LastIndexByte(kind, '/')+1:]
}

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
}

// Metadata is the part of ObjectMeta that is read.
type Metadata struct {
	Namespace   string            `json:"namespace"`
	Name        string            `json:"name"`
	UID         string            `json:"uid"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// ServiceSpec is the part of a core/v1 Service that is read.
type ServiceSpec struct {
	Type         string            `json:"type"`
	ExternalName string            `json:"externalName"`
	Selector     map[string]string `json:"selector"`
	ClusterIP    string            `json:"clusterIP"`
	ClusterIPs   []string          `json:"clusterIPs"`
	Ports        []ServicePort     `json:"ports"`
	ExternalIPs  []string          `json:"externalIPs"`
	// ExportTo are the Namespaces whose clients know the Service, as its annotation names them; none where all do.
	ExportTo []string `json:"-"`
	// Status is the status of the object.
	Status ServiceStatus `json:"-"`
	// Owner is the one whose controller keeps the Service; nil where none does.
	Owner *Owner `json:"-"`
}

// ServiceStatus is the part of the status of a Service that is read.
type ServiceStatus struct {
	LoadBalancer struct {
		Ingress []LoadBalancerIngress `json:"ingress"`
	} `json:"loadBalancer"`
}

// LoadBalancerIngress is one way in from outside.
type LoadBalancerIngress struct {
	IP       string `json:"ip"`
	Hostname string `json:"hostname"`
}

// decodeService fills the metadata of the object and returns its spec with its status.
func decodeService(data []byte, object *Object) (*ServiceSpec, error) {
	var view struct {
		Metadata ownedMetadata `json:"metadata"`
		Spec     ServiceSpec   `json:"spec"`
		Status   ServiceStatus `json:"status"`
	}
	if err := read(data, &view); err != nil {
		return nil, err
	}
	object.Metadata, view.Spec.Status = view.Metadata.Metadata, view.Status
	view.Spec.ExportTo, view.Spec.Owner = ExportTo(view.Metadata.Annotations), controllerOf(view.Metadata.OwnerReferences)
	return &view.Spec, nil
}

// ServicePort is one port of a Service.
type ServicePort struct {
	Port        int64   `json:"port"`
	Name        string  `json:"name"`
	Protocol    string  `json:"protocol"`
	AppProtocol *string `json:"appProtocol"`
}

// ConfigMap is the part of a core/v1 ConfigMap that is read.
type ConfigMap struct {
	Data map[string]string `json:"data"`
}

// KindIn returns the name that a kind of an API group has here.
func KindIn(group, kind string) string {
	if group == gatewayGroup && kind == apiGateway {
		return KindAPIGateway
	}
	return kind
}

// ClusterScoped reports whether the objects of a kind are in no Namespace.
func ClusterScoped(kind string) bool {
	return kind == KindNamespace || kind == KindIngressClass || kind == KindGatewayClass
}

// GroupOf returns the API group of a kind that has a view.
func GroupOf(kind string) string {
	switch kind {
	case KindService, KindNamespace, KindConfigMap, KindPod, KindBinding, KindEndpoints:
		return ""
	case KindEndpointSlice:
		return "discovery.k8s.io"
	case KindIngress, KindIngressClass:
		return "networking.k8s.io"
	case KindServiceExport:
		return multiclusterGroup
	case KindHTTPRoute, KindGRPCRoute, KindTCPRoute, KindTLSRoute, KindBackendTLSPolicy, KindGatewayClass, KindAPIGateway:
		return gatewayGroup
	case KindWasmPlugin, KindTrafficExtension:
		return extensionGroup
	}
	return istioGroup
}

// Decode reads the view of an object of that kind. Field names are case-sensitive. The error says which
// field has the wrong type.
func Decode(kind string, data []byte) (*Object, error) {
	object := &Object{Kind: kind}
	var err error
	switch kind {
	case KindNamespace, KindPod, KindBinding, KindServiceExport:
		_, err = decode[jsontext.Value](data, object)
	case KindService:
		object.Service, err = decodeService(data, object)
	case KindConfigMap:
		object.ConfigMap, err = decodeWhole[ConfigMap](data, object)
	case KindEndpoints:
		object.Endpoints, err = decodeWhole[Endpoints](data, object)
	case KindEndpointSlice:
		object.EndpointSlice, err = decodeWhole[EndpointSlice](data, object)
	case KindIngress:
		object.Ingress, err = decode[Ingress](data, object)
	case KindIngressClass:
		object.IngressClass, err = decode[IngressClass](data, object)
	case KindGatewayClass:
		object.GatewayClass, err = decode[GatewayClass](data, object)
	case KindAPIGateway:
		object.APIGateway, err = decode[APIGateway](data, object)
	case KindDestinationRule:
		object.DestinationRule, err = decode[DestinationRule](data, object)
	case KindVirtualService:
		object.VirtualService, err = decodeVirtualService(data, object)
	case KindServiceEntry:
		object.ServiceEntry, err = decodeServiceEntry(data, object)
	case KindWorkloadEntry:
		object.WorkloadEntry, err = decode[WorkloadEntry](data, object)
	case KindWorkloadGroup:
		object.WorkloadGroup, err = decode[WorkloadGroup](data, object)
	case KindSidecar:
		object.Sidecar, err = decode[Sidecar](data, object)
	case KindGateway:
		object.Gateway, err = decode[Gateway](data, object)
	case KindProxyConfig:
		object.ProxyConfig, err = decode[ProxyConfig](data, object)
	case KindEnvoyFilter:
		object.EnvoyFilter, err = decode[EnvoyFilter](data, object)
	case KindBackendTLSPolicy:
		object.BackendTLSPolicy, err = decode[BackendTLSPolicy](data, object)
	case KindWasmPlugin, KindTrafficExtension:
		object.Extension, err = decode[Extension](data, object)
	case KindHTTPRoute, KindGRPCRoute, KindTCPRoute, KindTLSRoute:
		object.Route, err = decode[Route](data, object)
	default:
		err = errors.New("no such view")
	}
	if err != nil {
		return nil, fmt.Errorf("decode %s: %w", kind, err)
	}
	return object, nil
}

// decode fills the metadata of the object and returns its spec.
func decode[Spec any](data []byte, object *Object) (*Spec, error) {
	var view struct {
		Metadata Metadata `json:"metadata"`
		Spec     Spec     `json:"spec"`
	}
	if err := read(data, &view); err != nil {
		return nil, err
	}
	object.Metadata = view.Metadata
	return &view.Spec, nil
}

// decodeWhole does the same for a kind that has no spec: its fields stand beside the metadata.
func decodeWhole[Fields any](data []byte, object *Object) (*Fields, error) {
	var view struct {
		Metadata Metadata `json:"metadata"`
	}
	if err := read(data, &view); err != nil {
		return nil, err
	}
	fields := new(Fields)
	if err := read(data, fields); err != nil {
		return nil, err
	}
	object.Metadata = view.Metadata
	return fields, nil
}

// read fills a view. The time of a request is mostly spent here, and so it takes the Go JSON working group's
// decoder, which reads what encoding/json reads in half of the time (make bench prints the ratios). Nothing is
// refused that the API server lets pass.
func read(data []byte, view any) error {
	err := json.Unmarshal(data, view, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if wrong, ok := errors.AsType[*json.SemanticError](err); ok && wrong.GoType != nil {
		v := valueAt(data, wrong.ByteOffset+1)
		return fmt.Errorf("%s: %s", cmp.Or(v.path, "the object"), typeMessage(wrong.GoType, data[v.start:v.end]))
	}
	if wrong, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return wrong.Err
	}
	return err
}
