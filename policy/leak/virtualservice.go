package leak

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// foreignDestinations reports where a VirtualService sends the traffic of strict hosts, or with mirrors a copy of it,
// to a host that is no fence for them: by itself, through a delegate, or as the delegate of another one.
func foreignDestinations(w Write, view *policy.View, mirrors bool) []breach {
	if mirrors && !slices.ContainsFunc(w.VirtualService.HTTP, mayMirror) {
		return nil
	}
	o, to := w.Object, w.destinations(view)
	if len(o.VirtualService.Hosts) == 0 {
		return foreignInDelegate(o, to, mirrors)
	}
	taken := w.takenOver(view)
	if len(taken) == 0 {
		return nil
	}
	named, covered := byWildcard(taken)
	others := hasOthers(o, view)
	return append(foreignFrom(o, named, "", others, to, mirrors), foreignFrom(o, covered, " *", others, to, mirrors)...)
}

// mayMirror reports whether a route sends copies of requests somewhere, by itself or through a delegate.
func mayMirror(r object.HTTPRoute) bool {
	return r.Mirror != nil || len(r.Mirrors) > 0 || r.Delegate != nil
}

// namesSubset reports whether a VirtualService names a subset that is not the reserved one.
func namesSubset(v *object.VirtualService) bool {
	for d := range v.Targets() {
		if d.Subset != "" && d.Subset != policy.ReservedSubset {
			return true
		}
	}
	return false
}

// foreignFrom does for some of the hosts what foreignDestinations does; others says that the VirtualService has hosts
// that are no strict ones, and by is added to the place of a breach.
func foreignFrom(o *object.Object, taken []takenHost, by string, others bool, to *destinations, mirrors bool) []breach {
	if len(taken) == 0 {
		return nil
	}
	takeovers, routes := newTakeovers(taken), newRoutes(o.VirtualService, to.view.Config())
	var found []breach
	add := func(b breach, path object.Path) {
		b.path, b.at = path, b.at+by
		found = append(found, b)
	}
	for path, d := range o.VirtualService.Destinations() {
		from := takeovers.by(path)
		if from == nil || mirrored(path) != mirrors || !routes.used(path) || others && routes.forGateways(path) {
			continue
		}
		if detour, hosts, foreign := to.from(from, d.Host, o.Metadata.Namespace); foreign {
			add(detour.breach(hosts), append(path, "host"))
		}
	}
	delegates := map[object.Delegate]*breach{}
	for path, d := range o.VirtualService.Delegates(o.Metadata.Namespace) {
		from := takeovers.by(path)
		if from == nil || !routes.used(path) || others && routes.forGateways(path) {
			continue
		}
		b, known := delegates[d]
		if !known {
			b = foreignDelegate(d, o, from, to, mirrors)
			delegates[d] = b
		}
		if b != nil {
			add(*b, path)
		}
	}
	return found
}

// foreignDelegate returns what is wrong with a delegate that sends its requests to hosts that are no fence for those
// of its root, if there is such a VirtualService and it gives its routes to the Namespace of the root
// (mergeVirtualServices in pilot/pkg/model/virtualservice_controller.go).
func foreignDelegate(d object.Delegate, root *object.Object, from *takeover, to *destinations, mirrors bool) *breach {
	delegate, exists := to.view.Object(object.Key{Kind: object.KindVirtualService, Namespace: d.Namespace, Name: d.Name})
	if !exists || len(delegate.VirtualService.Hosts) > 0 || !sees(root, delegate) {
		return nil
	}
	routes := newRoutes(delegate.VirtualService, to.view.Config())
	targets := map[string]foreignTarget{}
	for path, destination := range delegate.VirtualService.Destinations() {
		if !delegable(path) || mirrored(path) != mirrors || !routes.used(path) {
			continue
		}
		if detour, hosts, foreign := to.from(from, destination.Host, delegate.Metadata.Namespace); foreign {
			targets[detour.host] = foreignTarget{detour, hosts}
		}
	}
	if len(targets) == 0 {
		return nil
	}
	names := slices.Sorted(maps.Keys(targets))
	name, first := d.Namespace+"/"+d.Name, targets[names[0]]
	must := fmt.Sprintf("not name %s, which sends requests to %s, because %s", name, first.host, first.why)
	b := &breach{value: name, at: strings.Join(names[:min(len(names), maxFindings)], " "), host: first.hosts, must: must, excuses: first.excuses}
	for _, other := range names[1:] {
		target := targets[other]
		if b.excuses = append(slices.Clip(b.excuses), target.excuses...); len(first.excuses) == 0 || len(target.excuses) == 0 {
			b.excuses, first.excuses = nil, nil // nothing excuses the one
		}
	}
	switch more := len(names) - 1; more {
	case 0:
	case 1:
		b.must += ", and so it does to one more such host"
	default:
		b.must += fmt.Sprintf(", and so it does to %s more such hosts", count(more))
	}
	return b
}

// foreignTarget is a destination and the hosts for which it is no fence.
type foreignTarget struct {
	detour
	hosts policy.FencedHost
}

// foreignInDelegate does for a delegate what foreignDestinations does for its roots. It names the first of them.
func foreignInDelegate(o *object.Object, to *destinations, mirrors bool) []breach {
	for _, root := range roots(o, to.view) {
		taken := bySection(takenOver(root, to.view), sectionHTTP)
		if len(taken) == 0 {
			continue
		}
		from, routes := newTakeover(fencedHosts(taken)), newRoutes(o.VirtualService, to.view.Config())
		var found []breach
		for path, d := range o.VirtualService.Destinations() {
			if !delegable(path) || mirrored(path) != mirrors || !routes.used(path) {
				continue
			}
			if why, hosts, foreign := to.from(from, d.Host, o.Metadata.Namespace); foreign {
				b := why.breach(hosts)
				b.path = slices.Concat(path, []string{"host"})
				b.must += fmt.Sprintf(", because VirtualService %s/%s leaves requests to this one", root.Metadata.Namespace, root.Metadata.Name)
				found = append(found, b)
			}
		}
		return found
	}
	return nil
}

// routes answers for the routes of one VirtualService, each of which is read once however many destinations it has.
type routes struct {
	v      *object.VirtualService
	config *policy.Config

	section, index string
	// here reports whether clients of this control plane's clusters may match, and gateways whether none but those of
	// gateways do.
	here, gateways bool
	// weights are those of the destinations where any has one; nil where none has.
	weights []object.WeightedDestination
	// lastHTTP and lastTCP are the numbers of the routes that are for every request and every connection; -1 where none is.
	lastHTTP, lastTCP int
}

func newRoutes(v *object.VirtualService, config *policy.Config) *routes {
	return &routes{v: v, config: config, lastHTTP: slices.IndexFunc(v.HTTP, everyRequest), lastTCP: slices.IndexFunc(v.TCP, everyConnection)}
}

// everyRequest reports whether a route is for every request, by a match without conditions too. The routes of a delegate
// take the place of one that leaves requests to it.
func everyRequest(r object.HTTPRoute) bool {
	return r.Delegate == nil && (len(r.Match) == 0 || slices.ContainsFunc(r.Match, func(m object.HTTPMatch) bool {
		return everyClient(m.ClientMatch) && m.RequestMatch == (object.RequestMatch{})
	}))
}

// everyConnection does for a route of tcp what everyRequest does. One without destinations is passed over.
func everyConnection(r object.TCPRoute) bool {
	return len(r.Route) > 0 && (len(r.Match) == 0 || slices.ContainsFunc(r.Match, func(m object.TCPMatch) bool {
		return everyClient(m.ClientMatch) && len(m.DestinationSubnets) == 0
	}))
}

// everyClient reports whether a match is for every client, on every port.
func everyClient(m object.ClientMatch) bool {
	return len(m.Gateways)+len(m.SourceLabels) == 0 && m.Port == 0 && m.SourceNamespace == ""
}

// read reads the route that a path leads into.
func (r *routes) read(path object.Path) {
	if path[1] == r.section && path[2] == r.index {
		return
	}
	r.section, r.index = path[1], path[2]
	some, here, gateways := false, false, true
	for m := range r.v.ClientMatches(path) {
		cluster, said := m.SourceLabels[policy.ClusterLabel]
		some, here = true, here || !said || len(m.Gateways) > 0 || slices.Contains(r.config.Clusters, cluster)
		gateways = gateways && len(m.Gateways) > 0 && !slices.Contains(m.Gateways, object.MeshGateway)
	}
	r.here, r.gateways = here || !some, gateways && some
	r.weights = r.v.Weighted(path)
	if len(r.weights) < 2 || !slices.ContainsFunc(r.weights, func(d object.WeightedDestination) bool { return d.Weight > 0 }) {
		r.weights = nil
	}
}

// used reports whether a client of this control plane's clusters may be sent to what a path leads to. Of several
// destinations one without weight gets nothing (TranslateRoute in Istio's pilot/pkg/networking/core/route and
// buildOutboundNetworkFilters in pilot/pkg/networking/core), and a match by the cluster of the client is decided by
// istiod, unless it names gateways, of which Istio looks at nothing else (row C8). Behind a route that is for every request or
// connection Istio reads no further one (BuildHTTPRoutesForVirtualService in pilot/pkg/networking/core/route, and in
// pilot/pkg/networking/core waypointInboundRoute, buildSidecarOutboundTCPFilterChainOpts and
// buildGatewayNetworkFiltersFromTCPRoutes).
func (r *routes) used(path object.Path) bool {
	r.read(path)
	if i, err := strconv.Atoi(path[2]); err == nil && r.behind(path[1], i) {
		return false
	}
	if r.weights != nil && len(path) > 4 && path[3] == "route" {
		if i, err := strconv.Atoi(path[4]); err == nil && r.weights[i].Weight <= 0 {
			return false
		}
	}
	return r.here
}

// behind reports whether the route of a section with that number is behind one that leaves it nothing.
func (r *routes) behind(section string, i int) bool {
	switch section {
	case "http":
		return r.lastHTTP >= 0 && i > r.lastHTTP
	case "tcp":
		return r.lastTCP >= 0 && i > r.lastTCP
	}
	return false
}

// forGateways reports whether the route that a path leads into is for gateways alone.
func (r *routes) forGateways(path object.Path) bool {
	r.read(path)
	return r.gateways
}

// sees reports whether a root may have the routes of a delegate.
func sees(root, delegate *object.Object) bool {
	exportTo, own := delegate.VirtualService.ExportTo, root.Metadata.Namespace
	return object.Public(exportTo) || slices.Contains(exportTo, own) ||
		slices.Contains(exportTo, ".") && delegate.Metadata.Namespace == own
}

// delegable reports whether a destination is one of an http route: the others of a delegate have no meaning.
func delegable(path object.Path) bool { return path[1] == "http" }

// mirrored reports whether a destination is one of a mirror.
func mirrored(path object.Path) bool { return delegable(path) && strings.HasPrefix(path[3], "mirror") }
