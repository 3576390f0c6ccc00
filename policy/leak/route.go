package leak

import (
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// routeKinds are the kinds of Gateway API routes.
func routeKinds() []string {
	return []string{object.KindHTTPRoute, object.KindGRPCRoute, object.KindTCPRoute, object.KindTLSRoute}
}

// backendMatch answers for the host that a reference of a Route leads to: a Service, or a host by its name. It
// matches nothing for every other kind.
func backendMatch(ref object.Reference, namespace string, view *policy.View) policy.Match {
	if service, ok := ref.Service(namespace); ok {
		return view.Match(service.FQDN(view.Config().ClusterDomain))
	}
	if host, ok := ref.Hostname(); ok {
		return view.Match(host)
	}
	return policy.Match{}
}

// importMatch answers for the Service that a reference of a Route names as it is in all clusters.
func importMatch(ref object.Reference, namespace string, view *policy.View) policy.Match {
	service, ok := ref.Import(namespace)
	if !ok {
		return policy.Match{}
	}
	return view.Match(service.FQDN(view.Config().ClusterDomain))
}
