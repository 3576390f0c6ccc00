package inject

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// notFound is the HTTP status that Istio answers with where no route matches.
const notFound = 404

// lacking returns the routes to the reserved subset without which Istio would send some client's traffic for
// a strict host of the VirtualService to every cluster: where no route of a section is for a client and port,
// it makes one of its own that names no subset (rows A3 and C9). What the Services have no port for
// needs no route, and tools that own the VirtualService would take one for theirs: so a section of which it has no route
// is left to the companions beside it, see [Companion.Beside]. What cannot be fixed is only a gap.
func (e *routeEditor) lacking() (takeover, appended) {
	if !e.config.Active().Only(policy.Subset) || !e.route.InMesh() {
		return takeover{}, nil
	}
	t, ok := e.takeover()
	if !ok {
		return takeover{}, nil
	}
	own := e.ours.without(e.route)
	c := catchAll{
		host:  t.host.Host,
		hosts: own.Hosts,
		mesh:  slices.ContainsFunc(own.Gateways, func(g string) bool { return g != object.MeshGateway }),
	}
	wanted := appended{}
	for _, section := range []struct {
		name   string
		needed bool
		own    int
		covers bool
		routes func() []any
	}{
		{sectionHTTP, t.speaks.HTTP, len(own.HTTP), slices.ContainsFunc(own.HTTP, httpCovers), func() []any { return c.http(own.HTTP) }},
		{sectionTLS, t.speaks.Bytes, len(own.TLS), slices.ContainsFunc(own.TLS, tlsCovers), func() []any { return c.tls(own.TLS) }},
		{sectionTCP, t.speaks.Bytes, len(own.TCP), slices.ContainsFunc(own.TCP, tcpCovers), c.tcp},
	} {
		if !section.needed || section.covers {
			continue
		}
		if t.shared && section.own == 0 {
			e.beside = !e.byFlagger()
			continue
		}
		routes := section.routes()
		switch {
		case e.byFlagger() && t.alone:
			e.lacks(section.name, t.host, "which admission adds to nothing that Flagger keeps")
			e.Gaps[len(e.Gaps)-1].Fix = e.fix()
		case e.byFlagger():
		case t.sole && routes != nil:
			wanted[section.name] = routes
		case t.alone && t.sole:
			e.lacks(section.name, t.host, "which admission adds only where all others have the same sniHosts and no subnets")
			e.Gaps[len(e.Gaps)-1].Fix = fmt.Sprintf("add one yourself, to subset %q", policy.ReservedSubset)
		case t.alone:
			e.lacks(section.name, t.host, "which admission adds only where all hosts are one Service")
			e.Gaps[len(e.Gaps)-1].Fix = "write one VirtualService for each"
		}
	}
	return t, wanted
}

// takeover is what a VirtualService of the mesh takes over.
type takeover struct {
	host policy.FencedHost
	// speaks is what the ports of the strict Services carry.
	speaks policy.Speech
	// sole reports whether the host is the only Service.
	sole bool
	// alone reports whether no whole companion is beside the VirtualService. Beside any other there is one, or a
	// VirtualService that this holds for, and Istio takes from it what the first one lacks.
	alone bool
	// shared reports whether companions are beside it all the same, with the sections of which it has no route.
	shared bool
}

// takeover returns the tightest strict host that the VirtualService takes over, of those that no companion is
// beside if there are such. Wildcards take over none, because Istio
// prefers the companion's exact host for HTTP, and adds up what both have for TLS and TCP
// (MostSpecificWildcardVirtualServiceIndex in Istio's pilot/pkg/model, getConfigsForHost in its
// pilot/pkg/networking/core/tls.go). Names outside the cluster are aliases.
func (e *routeEditor) takeover() (t takeover, ok bool) {
	domain := e.config.ClusterDomain
	replaced := map[hostname.Host]bool{}
	for _, service := range Replaced(&object.Object{Metadata: e.metadata, VirtualService: e.route}, domain) {
		replaced[service] = true
	}
	services := map[hostname.Host]bool{}
	var beside, unaccompanied []policy.FencedHost
	others, accompanied := false, true
	for _, name := range e.route.Hosts {
		name = strings.ToLower(hostname.Resolve(name, e.metadata.Namespace, domain))
		if suffix, wildcard := hostname.Wildcard(name); wildcard {
			inside := ".svc." + domain
			others = others || strings.HasSuffix(suffix, inside) || strings.HasSuffix(inside, suffix)
			continue
		}
		service, inside := hostname.Parse(name, domain)
		if !inside || services[service] {
			continue
		}
		services[service] = true
		match := e.view.Match(name)
		if !match.Has(policy.Strict) {
			continue
		}
		t.speaks = t.speaks.With(e.view.Speaks(service))
		switch {
		case replaced[service]:
			unaccompanied = append(unaccompanied, match.Host(policy.Strict))
		default:
			beside = append(beside, match.Host(policy.Strict))
		}
		accompanied = accompanied && (e.view.Serves(service) || e.config.Names(service))
	}
	t.host, t.sole = policy.Together(beside...), len(services) == 1 && !others
	if len(unaccompanied) > 0 {
		t.host, t.alone, t.shared = policy.Together(unaccompanied...), true, accompanied
	}
	return t, len(beside)+len(unaccompanied) > 0
}

// forAll reports whether a match leaves out no client of the mesh and no port (matchTCP and matchTLS in Istio's
// pilot/pkg/networking/core/tls.go).
func forAll(m object.ClientMatch) bool {
	return len(m.SourceLabels) == 0 && m.SourceNamespace == "" && m.Port == 0 && forMesh(m)
}

func forMesh(m object.ClientMatch) bool {
	return len(m.Gateways) == 0 || slices.Contains(m.Gateways, object.MeshGateway)
}

// httpCovers reports whether Istio makes of the route one for every client and port. What that one does not match
// is answered with 404. With gateways Istio ignores the labels and the namespace (row C8; sourceMatchHTTP in
// Istio's pilot/pkg/networking/core/route). What a delegate matches is not known here.
func httpCovers(r object.HTTPRoute) bool {
	return r.Delegate == nil && (len(r.Match) == 0 || slices.ContainsFunc(r.Match, func(m object.HTTPMatch) bool {
		return forAll(m.ClientMatch) || m.Port == 0 && len(m.Gateways) > 0 && forMesh(m.ClientMatch)
	}))
}

// tlsCovers says the same: where a match is for a client and port, a connection with another name leaves the
// mesh, see serverNames.
func tlsCovers(r object.TLSRoute) bool {
	return len(r.Route) > 0 && slices.ContainsFunc(r.Match, func(m object.TLSMatch) bool { return forAll(m.ClientMatch) })
}

// tcpCovers says the same. A connection to other subnets is not covered.
func tcpCovers(r object.TCPRoute) bool {
	return len(r.Route) > 0 && (len(r.Match) == 0 || slices.ContainsFunc(r.Match, func(m object.TCPMatch) bool {
		return forAll(m.ClientMatch) && len(m.DestinationSubnets) == 0
	}))
}

// catchAll builds routes for what no other takes.
type catchAll struct {
	// host is that whose reserved subset they lead to, and hosts are those of the VirtualService.
	host  string
	hosts []string
	// mesh reports whether the routes must be for sidecars alone, so that no gateway opens to more than before.
	mesh bool
}

// match returns a match for sidecars alone where that makes a difference, and nothing otherwise.
func (c catchAll) match() map[string]any {
	if c.mesh {
		return map[string]any{"gateways": []any{object.MeshGateway}}
	}
	return map[string]any{}
}

func (c catchAll) route(match map[string]any) map[string]any {
	to := toReserved(c.host)
	if len(match) == 0 {
		return map[string]any{"route": to}
	}
	return map[string]any{"match": []any{match}, "route": to}
}

// http returns a route for the clients and ports for which there is none. The others keep getting 404 for
// what theirs do not match.
func (c catchAll) http(own []object.HTTPRoute) []any {
	var served []any
	known := map[string]bool{}
	for _, r := range own {
		for _, m := range r.Match {
			if r.Delegate != nil || !forMesh(m.ClientMatch) || !requests(m.RequestMatch) {
				continue
			}
			client := c.client(m.ClientMatch)
			if key, err := json.Marshal(client); err == nil && !known[string(key)] {
				known[string(key)] = true
				served = append(served, client)
			}
		}
	}
	all := c.route(c.match())
	if len(served) == 0 {
		return []any{all}
	}
	return []any{map[string]any{"match": served, "directResponse": map[string]any{"status": notFound}}, all}
}

// requests reports whether a match leaves out some requests of its clients.
func requests(m object.RequestMatch) bool {
	return bool(m.URI || m.Scheme || m.Method || m.Authority || m.Headers || m.WithoutHeaders || m.QueryParams)
}

// client returns what istiod decides of a match. With gateways it would ignore the labels and the namespace.
func (c catchAll) client(m object.ClientMatch) map[string]any {
	match := map[string]any{}
	if m.Port != 0 {
		match["port"] = m.Port
	}
	switch {
	case len(m.Gateways) > 0:
		match["gateways"] = []any{object.MeshGateway}
	case len(m.SourceLabels) == 0 && m.SourceNamespace == "":
		maps.Copy(match, c.match())
	}
	if len(m.SourceLabels) > 0 && len(m.Gateways) == 0 {
		match["sourceLabels"] = m.SourceLabels
	}
	if m.SourceNamespace != "" && len(m.Gateways) == 0 {
		match["sourceNamespace"] = m.SourceNamespace
	}
	return match
}

// tls returns a route for the names of the VirtualService, or where there are routes for some clients and
// ports for the names of those. Envoy takes no listener in which a name is in two places, and Istio only
// leaves out a list of names that is the same. So there is none where lists differ or go with subnets
// (buildSidecarOutboundTLSFilterChainOpts in Istio's pilot/pkg/networking/core/tls.go).
func (c catchAll) tls(own []object.TLSRoute) []any {
	var lists [][]string
	for _, r := range own {
		for _, m := range r.Match {
			switch {
			case len(r.Route) == 0 || !forMesh(m.ClientMatch):
			case len(m.SNIHosts) == 0 || len(m.DestinationSubnets) > 0:
				return nil
			default:
				lists = append(lists, m.SNIHosts)
			}
		}
	}
	names := c.hosts
	if lists = slices.CompactFunc(lists, slices.Equal); len(lists) == 1 {
		names = lists[0]
	} else if len(lists) > 1 {
		return nil
	}
	match := c.match()
	match["sniHosts"] = names
	return []any{c.route(match)}
}

func (c catchAll) tcp() []any { return []any{c.route(c.match())} }

// toReserved returns the destination that is the reserved subset of a host.
func toReserved(fqdn string) []any {
	return []any{map[string]any{"destination": map[string]any{"host": fqdn, "subset": policy.ReservedSubset}}}
}
