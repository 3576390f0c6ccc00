package object

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

// decodeService returns what decodes a Service.
func decodeService() decoder[ServiceSpec] {
	type view struct {
		Metadata ownedMetadata `json:"metadata"`
		Spec     ServiceSpec   `json:"spec"`
		Status   ServiceStatus `json:"status"`
	}
	read := reader[view]()
	return func(data []byte, object *Object) (*ServiceSpec, error) {
		var v view
		if err := read(data, &v); err != nil {
			return nil, err
		}
		object.Metadata, v.Spec.Status = v.Metadata.Metadata, v.Status
		v.Spec.ExportTo, v.Spec.Owner = ExportTo(v.Metadata.Annotations), controllerOf(v.Metadata.OwnerReferences)
		return &v.Spec, nil
	}
}

// ServicePort is one port of a Service.
type ServicePort struct {
	Port        int64   `json:"port"`
	Name        string  `json:"name"`
	Protocol    string  `json:"protocol"`
	AppProtocol *string `json:"appProtocol"`
}
