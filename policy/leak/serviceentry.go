package leak

import (
	"strings"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// claimedByEntry returns a strict host whose traffic a ServiceEntry takes over with one of its hosts. A name
// without a dot is the short name of a Service in every client's namespace, and clients whose names the sidecar
// resolves come to some names in their DNS search list before that of the Service; see [searched].
func claimedByEntry(host, namespace string, view *policy.View) (policy.FencedHost, bool) {
	found, strict := claimed(host, namespace, view)
	if !strict && !strings.Contains(host, ".") {
		return view.StrictNamed(strings.ToLower(host))
	}
	if !strict {
		return searched(host, view)
	}
	return found, strict
}

// searched returns a strict host to which clients come in their DNS search list after that name. The sidecars of those
// who know the host answer to its names in the first search domain themselves, but to its full name not in its own
// Namespace, so that it takes the requests of those, and of clients who do not know the host (buildDNSAnswers in Istio's
// pkg/dns/client/dns.go). A wildcard has the names that it covers (lookupHost there).
func searched(host string, view *policy.View) (policy.FencedHost, bool) {
	if services, in, ok := hostname.SearchedUnder(host, view.Config().ClusterDomain); ok {
		match := view.Match(services)
		return match.Host(policy.Strict), match.Has(policy.Strict) && (in == "" || view.Known(hostname.Host{Namespace: in}))
	}
	service, ok := hostname.Searched(host, view.Config().ClusterDomain)
	if !ok || !view.Known(service) {
		return policy.FencedHost{}, false
	}
	match := view.Match(service.FQDN(view.Config().ClusterDomain))
	return match.Host(policy.Strict), match.Has(policy.Strict)
}

// entryHost returns the tightest strict host that a ServiceEntry claims, which stands for the others.
func entryHost(o *object.Object, view *policy.View) (policy.FencedHost, bool) {
	var hosts []policy.FencedHost
	for _, h := range o.ServiceEntry.Hosts {
		if host, strict := claimedByEntry(h, o.Metadata.Namespace, view); strict {
			hosts = append(hosts, host)
		}
	}
	return policy.Together(hosts...), len(hosts) > 0
}

// passesOn reports whether what a wildcard of a ServiceEntry takes goes on to where it was going: the ServiceEntry
// resolves nothing, and names lead to no address or endpoint of it. An exact host would take the place of the Service.
// That a VirtualService has routes for such a wildcard is for rules on VirtualServices.
func passesOn(host string, o *object.Object) bool {
	_, wildcard := hostname.Wildcard(host)
	e := o.ServiceEntry
	return wildcard && !e.Resolves() && len(e.Addresses) == 0 && len(e.Status.Addresses) == 0 && len(e.Endpoints) == 0 && e.WorkloadSelector == nil
}
