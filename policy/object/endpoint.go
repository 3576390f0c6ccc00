package object

// EndpointSlice is the part of a discovery.k8s.io EndpointSlice that is read.
type EndpointSlice struct {
	Endpoints []struct {
		Addresses []string   `json:"addresses"`
		TargetRef *TargetRef `json:"targetRef"`
	} `json:"endpoints"`
}

// decodeEndpointSlice returns what decodes an EndpointSlice.
func decodeEndpointSlice() decoder[EndpointSlice] {
	type view struct {
		EndpointSlice
		Metadata Metadata `json:"metadata"`
	}
	return decodeWhole(func(v *view) (Metadata, *EndpointSlice) { return v.Metadata, &v.EndpointSlice })
}

// TargetRef is what an endpoint says that it is an address of.
type TargetRef struct {
	Kind string `json:"kind"`
}

// ClaimsPods reports whether an endpoint of the slice is said to be a Pod: istiod gives it the labels and the locality of
// that Pod, whatever its address (getPod in Istio's pilot/pkg/serviceregistry/kube/controller/endpointslice.go).
func (s *EndpointSlice) ClaimsPods() bool {
	for _, e := range s.Endpoints {
		if e.TargetRef != nil && e.TargetRef.Kind == KindPod {
			return true
		}
	}
	return false
}

// Endpoints is the part of a core/v1 Endpoints that is read.
type Endpoints struct {
	Subsets []struct {
		Addresses         []EndpointAddress `json:"addresses"`
		NotReadyAddresses []EndpointAddress `json:"notReadyAddresses"`
	} `json:"subsets"`
}

// decodeEndpoints returns what decodes an Endpoints.
func decodeEndpoints() decoder[Endpoints] {
	type view struct {
		Endpoints
		Metadata Metadata `json:"metadata"`
	}
	return decodeWhole(func(v *view) (Metadata, *Endpoints) { return v.Metadata, &v.Endpoints })
}

// EndpointAddress is one address of an Endpoints.
type EndpointAddress struct {
	IP string `json:"ip"`
}

// Addresses lists the addresses of an EndpointSlice or Endpoints, in the order of the object.
func (o *Object) Addresses() []string {
	var list []string
	if o.EndpointSlice != nil {
		for _, e := range o.EndpointSlice.Endpoints {
			list = append(list, e.Addresses...)
		}
	}
	if o.Endpoints != nil {
		for _, s := range o.Endpoints.Subsets {
			for _, a := range s.Addresses {
				list = append(list, a.IP)
			}
			for _, a := range s.NotReadyAddresses {
				list = append(list, a.IP)
			}
		}
	}
	return list
}
