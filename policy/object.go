package policy

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"

	kjson "sigs.k8s.io/json"
)

// The kinds that have a view. Every kind of Istio's networking group stands for all its versions, which
// share one schema.
const (
	KindService         = "Service"
	KindNamespace       = "Namespace"
	KindDestinationRule = "DestinationRule"
	KindVirtualService  = "VirtualService"
	KindServiceEntry    = "ServiceEntry"
)

// Object is a read-only view of one object: the fields that meshfence reads, and nothing else. The field of
// its kind is set; a Namespace has metadata only.
type Object struct {
	Kind            string
	Metadata        Metadata
	Service         *ServiceSpec
	DestinationRule *DestinationRule
	VirtualService  *VirtualService
	ServiceEntry    *ServiceEntry
}

// Metadata is the part of ObjectMeta that is read.
type Metadata struct {
	Namespace   string            `json:"namespace"`
	Name        string            `json:"name"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// ServiceSpec is the part of a core/v1 Service that is read.
type ServiceSpec struct {
	Type         string            `json:"type"`
	ExternalName string            `json:"externalName"`
	Selector     map[string]string `json:"selector"`
	ClusterIP    string            `json:"clusterIP"`
}

// ServiceEntry is the part of a networking.istio.io ServiceEntry that is read.
type ServiceEntry struct {
	Hosts []string `json:"hosts"`
}

// Decode reads the view of an object of that kind. Field names are case-sensitive. The error says which
// field has the wrong type.
func Decode(kind string, data []byte) (*Object, error) {
	object := &Object{Kind: kind}
	var spec any
	switch kind {
	case KindNamespace:
		spec = nil
	case KindService:
		object.Service = &ServiceSpec{}
		spec = object.Service
	case KindDestinationRule:
		object.DestinationRule = &DestinationRule{}
		spec = object.DestinationRule
	case KindVirtualService:
		object.VirtualService = &VirtualService{}
		spec = object.VirtualService
	case KindServiceEntry:
		object.ServiceEntry = &ServiceEntry{}
		spec = object.ServiceEntry
	default:
		return nil, fmt.Errorf("decode %s: no such view", kind)
	}
	view := struct {
		Metadata *Metadata `json:"metadata"`
		Spec     any       `json:"spec"`
	}{&object.Metadata, spec}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(data, &view); err != nil {
		if typeError, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			path := cmp.Or(valueAt(data, typeError.Offset).path, "the object")
			return nil, fmt.Errorf("decode %s: %s: %s", kind, path, typeMessage(typeError))
		}
		return nil, fmt.Errorf("decode %s: %w", kind, err)
	}
	return object, nil
}
