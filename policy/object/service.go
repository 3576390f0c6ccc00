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
