package leak

import (
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// strictService returns the Service that is written, where its fence is strict.
func strictService(o *object.Object, view *policy.View) (policy.FencedHost, bool) {
	host := hostname.Host{Namespace: o.Metadata.Namespace, Name: o.Metadata.Name}
	decision := view.Service(host, o.Metadata.Annotations)
	if decision.Fence != policy.Strict {
		return policy.FencedHost{}, false
	}
	return policy.FencedHost{Host: host.FQDN(view.Config().ClusterDomain), Decision: decision}, true
}

// ServiceLabels lists the labels of Services that rules read.
func ServiceLabels() []string {
	return []string{globalLabel, ingressWaypointLabel, NetworkLabel, gatewayPortLabel}
}

// ServiceAnnotations lists the annotations of Services that rules read.
func ServiceAnnotations() []string {
	keys := []string{policy.FenceKey, object.ExportToAnnotation}
	for _, a := range foreignMeshAnnotations() {
		keys = append(keys, a.key)
	}
	return keys
}
