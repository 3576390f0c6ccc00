package leak

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meshfence/meshfence/policy"
)

// takenHost is a strict host whose traffic a VirtualService takes over.
type takenHost struct {
	policy.FencedHost
	// wildcard is what stands for the host and others in the VirtualService; empty where it has a name of its own
	// there.
	wildcard string
}

// takenOver lists the strict hosts whose traffic a VirtualService takes over, each once; of those that a wildcard
// or network covers only the tightest, which stands for the others. One that is bound to gateways only routes what
// arrives there, so that a wildcard in it takes over nothing, unless it is for server names inside the cluster domain,
// as those of TLS between clusters are.
func takenOver(o *policy.Object, view *policy.View) []takenHost {
	var taken []takenHost
	seen := map[[2]string]bool{}
	add := func(host policy.FencedHost, wildcard string) {
		if place := [2]string{host.Host, wildcard}; !seen[place] {
			seen[place] = true
			taken = append(taken, takenHost{host, wildcard})
		}
	}
	mesh := o.VirtualService.InMesh()
	for _, name := range o.VirtualService.Hosts {
		takeName(name, o, view, mesh, add)
	}
	for _, name := range o.VirtualService.ServerNames() {
		takeName(name, o, view, mesh || insideDomain(name, view), add)
	}
	if !mesh {
		return taken
	}
	for _, subnet := range o.VirtualService.Subnets() {
		network, ok := policy.Network(subnet.Network)
		if !ok {
			continue
		}
		ports := policy.Ports{HTTP: true} // on others the Service has a listener of its own
		if subnet.Port != 0 {
			ports.Numbers = []int64{subnet.Port}
		}
		if host, strict := view.StrictAddress(network, ports); strict {
			add(host, subnet.Network)
		}
	}
	return taken
}

// takeName adds what a VirtualService takes over by one of its names; wildcards says whether one that is a wildcard
// counts.
func takeName(name string, o *policy.Object, view *policy.View, wildcards bool, add func(policy.FencedHost, string)) {
	if host, ok := policy.ServerName(name); ok {
		name = host
	}
	wildcard := ""
	if _, ok := policy.Wildcard(name); ok {
		wildcard = name
	}
	if wildcard != "" && !wildcards {
		return
	}
	if host, strict := claimed(name, o.Metadata.Namespace, view); strict {
		add(host, wildcard)
	}
}

// insideDomain reports whether a wildcard is for names of the cluster domain, and not for any.
func insideDomain(name string, view *policy.View) bool {
	suffix, wildcard := policy.Wildcard(strings.ToLower(name))
	domain := ".svc." + view.Config().ClusterDomain
	return wildcard && suffix != "" && (strings.HasSuffix(suffix, domain) || strings.HasSuffix(domain, suffix))
}

// together returns the tightest of the hosts that are taken over, which stands for all of them.
func together(taken []takenHost) policy.FencedHost {
	hosts := make([]policy.FencedHost, len(taken))
	for i, host := range taken {
		hosts[i] = host.FencedHost
	}
	return policy.Together(hosts...)
}

// foreignDestinations reports where a VirtualService sends the traffic of a strict host, or with mirrors a copy
// of it, to a host that is not strict: by itself, through a delegate, or as the delegate of another one.
func foreignDestinations(o *policy.Object, view *policy.View, mirrors bool) []breach {
	if len(o.VirtualService.Hosts) == 0 {
		return foreignInDelegate(o, view, mirrors)
	}
	var found []breach
	for _, host := range takenOver(o, view) {
		add := func(b breach) {
			b.host = host.FencedHost
			b.at = strings.TrimSpace(b.at + " " + host.wildcard)
			found = append(found, b)
		}
		for path, d := range o.VirtualService.Destinations() {
			if mirrored(path) == mirrors && !leadsToStrict(d, o, view) {
				add(breach{path: append(path, "host"), value: d.Host, at: d.Host, must: "be a strict host"})
			}
		}
		for path, d := range o.VirtualService.Delegates(o.Metadata.Namespace) {
			name := d.Namespace + "/" + d.Name
			for _, target := range foreignTargets(d, o, view, mirrors) {
				add(breach{
					path: path, value: name, at: target,
					must: fmt.Sprintf("not name %s, which sends requests to %s, because that is no strict host", name, target),
				})
			}
		}
	}
	return found
}

// foreignTargets lists the hosts that are not strict and that a delegate sends requests to, if there is such a
// VirtualService and it gives its routes to the Namespace of its root (mergeVirtualServices in
// pilot/pkg/model/virtualservice_controller.go).
func foreignTargets(d policy.Delegate, root *policy.Object, view *policy.View, mirrors bool) []string {
	delegate, exists := view.Object(policy.Key{Kind: policy.KindVirtualService, Namespace: d.Namespace, Name: d.Name})
	if !exists || len(delegate.VirtualService.Hosts) > 0 || !sees(root, delegate) {
		return nil
	}
	var targets []string
	for path, destination := range delegate.VirtualService.Destinations() {
		if delegable(path) && mirrored(path) == mirrors && !leadsToStrict(destination, delegate, view) {
			targets = append(targets, destination.Host)
		}
	}
	slices.Sort(targets)
	return slices.Compact(targets)
}

// foreignInDelegate does for a delegate what foreignDestinations does for its roots. It names the first of them.
func foreignInDelegate(o *policy.Object, view *policy.View, mirrors bool) []breach {
	for _, root := range view.Delegators(o.Key()) {
		taken := takenOver(root, view)
		if len(taken) == 0 || !sees(root, o) {
			continue
		}
		var found []breach
		for path, d := range o.VirtualService.Destinations() {
			if delegable(path) && mirrored(path) == mirrors && !leadsToStrict(d, o, view) {
				found = append(found, breach{
					path: append(path, "host"), value: d.Host, at: d.Host, host: together(taken),
					must: fmt.Sprintf("be a strict host, because VirtualService %s/%s leaves requests to this one",
						root.Metadata.Namespace, root.Metadata.Name),
				})
			}
		}
		return found
	}
	return nil
}

// sees says that a root may have the routes of a delegate.
func sees(root, delegate *policy.Object) bool {
	exportTo, own := delegate.VirtualService.ExportTo, root.Metadata.Namespace
	return public(exportTo) || slices.Contains(exportTo, own) ||
		slices.Contains(exportTo, ".") && delegate.Metadata.Namespace == own
}

// delegable says that a destination is one of an http route: the others of a delegate have no meaning.
func delegable(path []string) bool { return path[1] == "http" }

// mirrored says that a destination is one of a mirror.
func mirrored(path []string) bool { return delegable(path) && strings.HasPrefix(path[3], "mirror") }

// leadsToStrict says that a destination in a VirtualService is a strict host.
func leadsToStrict(d policy.Destination, o *policy.Object, view *policy.View) bool {
	match := view.Match(policy.Resolve(d.Host, o.Metadata.Namespace, view.Config().ClusterDomain))
	return match.Has(policy.Strict)
}
