package leak

import (
	"net/netip"
	"strings"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
)

// claimed returns a strict host whose traffic an object takes over when it puts that name among its hosts.
// Istio and Envoy compare such names in lower case, and a Service also answers to its name with a final dot,
// to <name>.<namespace>, to <name>.<namespace>.svc and to its address, of which the object's host wins
// (generateVirtualHostDomains and dedupeDomains in Istio's pilot/pkg/networking/core/httproute.go).
func claimed(name, namespace string, view *policy.View) (policy.FencedHost, bool) {
	if address, ok := hostname.Address(name); ok {
		return view.StrictAddress(netip.PrefixFrom(address, address.BitLen()), policy.Ports{})
	}
	return claimedAs(policy.Strict, name, namespace, view)
}

// claimedAs does for the names of hosts with any fence what claimed does for strict ones.
func claimedAs(fence policy.Fence, name, namespace string, view *policy.View) (policy.FencedHost, bool) {
	config := view.Config()
	host := hostname.Resolve(hostname.Canonical(name), namespace, config.ClusterDomain)
	match := view.Match(host)
	if match.Has(fence) {
		return match.Host(fence), true
	}
	short := strings.TrimSuffix(host, ".svc")
	service, in, ok := strings.Cut(short, ".")
	if !ok || strings.Contains(in, ".") || strings.HasPrefix(service, "*") {
		return policy.FencedHost{}, false
	}
	inside := hostname.Host{Namespace: in, Name: service}
	if !view.Known(inside) { // the rest of the internet
		return policy.FencedHost{}, false
	}
	match = view.Match(inside.FQDN(config.ClusterDomain))
	return match.Host(fence), match.Has(fence)
}
