package leak

import "github.com/meshfence/meshfence/policy"

// strictService returns the Service that is written, where its fence is strict.
func strictService(o *policy.Object, view *policy.View) (policy.FencedHost, bool) {
	host := policy.Host{Namespace: o.Metadata.Namespace, Name: o.Metadata.Name}
	decision := view.Service(host, o.Metadata.Annotations)
	return policy.FencedHost{Host: host.FQDN(view.Config().ClusterDomain), Decision: decision}, decision.Fence == policy.Strict
}
