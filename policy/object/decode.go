package object

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/meshfence/meshfence/policy/jsonerr"
)

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
		v := jsonerr.ValueAt(data, wrong.ByteOffset+1)
		return fmt.Errorf("%s: %s", cmp.Or(v.Path, "the object"), jsonerr.TypeMessage(wrong.GoType, data[v.Start:v.End]))
	}
	if wrong, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return wrong.Err
	}
	return err
}
