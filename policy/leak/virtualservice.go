package leak

import (
	"fmt"
	"slices"
	"strconv"
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
// of it, to a host that is no fence for it: by itself, through a delegate, or as the delegate of another one.
func foreignDestinations(o *policy.Object, view *policy.View, mirrors bool) []breach {
	to := newDestinations(view)
	if len(o.VirtualService.Hosts) == 0 {
		return foreignInDelegate(o, to, mirrors)
	}
	taken := takenOver(o, view)
	var found []breach
	for _, host := range taken {
		add := func(b breach) {
			b.host = host.FencedHost
			b.at = strings.TrimSpace(b.at + " " + host.wildcard)
			found = append(found, b)
		}
		for path, d := range o.VirtualService.Destinations() {
			if mirrored(path) != mirrors || !used(o.VirtualService, path, view.Config()) || forOtherHosts(o, path, taken) {
				continue
			}
			if detour, foreign := to.of(host.FencedHost, d.Host, o.Metadata.Namespace); foreign {
				add(breach{path: append(path, "host"), value: d.Host, at: d.Host, must: detour.must(), excuses: detour.excuses})
			}
		}
		for path, d := range o.VirtualService.Delegates(o.Metadata.Namespace) {
			if !used(o.VirtualService, path, view.Config()) || forOtherHosts(o, path, taken) {
				continue
			}
			name := d.Namespace + "/" + d.Name
			for _, target := range foreignTargets(d, o, host.FencedHost, to, mirrors) {
				add(breach{
					path: path, value: name, at: target.host, excuses: target.excuses,
					must: fmt.Sprintf("not name %s, which sends requests to %s, because %s", name, target.host, target.why),
				})
			}
		}
	}
	return found
}

// foreignTargets lists the hosts that are no fence for a strict host and that a delegate sends its requests to, if
// there is such a VirtualService and it gives its routes to the Namespace of its root (mergeVirtualServices in
// pilot/pkg/model/virtualservice_controller.go).
func foreignTargets(d policy.Delegate, root *policy.Object, taken policy.FencedHost, to *destinations, mirrors bool) []detour {
	delegate, exists := to.view.Object(policy.Key{Kind: policy.KindVirtualService, Namespace: d.Namespace, Name: d.Name})
	if !exists || len(delegate.VirtualService.Hosts) > 0 || !sees(root, delegate) {
		return nil
	}
	var targets []detour
	for path, destination := range delegate.VirtualService.Destinations() {
		if !delegable(path) || mirrored(path) != mirrors || !used(delegate.VirtualService, path, to.view.Config()) {
			continue
		}
		if detour, foreign := to.of(taken, destination.Host, delegate.Metadata.Namespace); foreign {
			targets = append(targets, detour)
		}
	}
	slices.SortStableFunc(targets, func(a, b detour) int { return strings.Compare(a.host, b.host) })
	return slices.CompactFunc(targets, func(a, b detour) bool { return a.host == b.host })
}

// foreignInDelegate does for a delegate what foreignDestinations does for its roots. It names the first of them.
func foreignInDelegate(o *policy.Object, to *destinations, mirrors bool) []breach {
	for _, root := range roots(o, to.view) {
		taken := takenOver(root, to.view)
		if len(taken) == 0 {
			continue
		}
		var found []breach
		for path, d := range o.VirtualService.Destinations() {
			if !delegable(path) || mirrored(path) != mirrors || !used(o.VirtualService, path, to.view.Config()) {
				continue
			}
			var hosts []policy.FencedHost
			var why detour
			for _, host := range taken {
				if detour, foreign := to.of(host.FencedHost, d.Host, o.Metadata.Namespace); foreign {
					hosts, why = append(hosts, host.FencedHost), detour
				}
			}
			if len(hosts) == 0 {
				continue
			}
			found = append(found, breach{
				path: append(path, "host"), value: d.Host, at: d.Host, host: policy.Together(hosts...), excuses: why.excuses,
				must: fmt.Sprintf("%s, because VirtualService %s/%s leaves requests to this one", why.must(), root.Metadata.Namespace, root.Metadata.Name),
			})
		}
		return found
	}
	return nil
}

// route is what a path in a VirtualService is in: whom it is for, and its destinations.
type route struct {
	clients      []policy.ClientMatch
	destinations []policy.WeightedDestination
}

// routeAt returns the route that a path leads into.
func routeAt(v *policy.VirtualService, path []string) route {
	i, err := strconv.Atoi(path[2])
	if err != nil {
		return route{}
	}
	var r route
	switch path[1] {
	case "http":
		r.destinations = v.HTTP[i].Route
		for _, m := range v.HTTP[i].Match {
			r.clients = append(r.clients, m.ClientMatch)
		}
	case "tls":
		r.destinations = v.TLS[i].Route
		for _, m := range v.TLS[i].Match {
			r.clients = append(r.clients, m.ClientMatch)
		}
	case "tcp":
		r.destinations = v.TCP[i].Route
		for _, m := range v.TCP[i].Match {
			r.clients = append(r.clients, m.ClientMatch)
		}
	}
	return r
}

// used reports whether a client of this control plane's clusters may be sent to what a path leads to. Of several
// destinations one without weight gets nothing (TranslateRoute in Istio's pilot/pkg/networking/core/route and
// buildOutboundNetworkFilters in pilot/pkg/networking/core), and a match by the cluster of the client is decided by
// istiod, unless it names gateways, of which Istio looks at nothing else (row C8).
func used(v *policy.VirtualService, path []string, config *policy.Config) bool {
	r := routeAt(v, path)
	if len(path) > 4 && path[3] == "route" && len(r.destinations) > 1 {
		i, err := strconv.Atoi(path[4])
		weighted := func(d policy.WeightedDestination) bool { return d.Weight > 0 }
		if err == nil && !weighted(r.destinations[i]) && slices.ContainsFunc(r.destinations, weighted) {
			return false
		}
	}
	return len(r.clients) == 0 || slices.ContainsFunc(r.clients, func(m policy.ClientMatch) bool {
		cluster, said := m.SourceLabels[policy.ClusterLabel]
		return !said || len(m.Gateways) > 0 || slices.Contains(config.Clusters, cluster)
	})
}

// forOtherHosts reports whether a route of a VirtualService for sidecars and gateways is for gateways alone, and for
// one of its hosts that is no strict one.
func forOtherHosts(o *policy.Object, path []string, taken []takenHost) bool {
	r := routeAt(o.VirtualService, path)
	if !o.VirtualService.InMesh() || len(taken) >= len(o.VirtualService.Hosts) || len(r.clients) == 0 {
		return false
	}
	return !slices.ContainsFunc(r.clients, func(m policy.ClientMatch) bool {
		return len(m.Gateways) == 0 || slices.Contains(m.Gateways, policy.MeshGateway)
	})
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
