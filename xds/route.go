package xds

import (
	"fmt"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
)

// routes follows a route configuration, which the requests for some hosts reach by address.
func (p *paths) routes(at Path, config *routev3.RouteConfiguration, bound []string) {
	origins := p.virtualHosts(config, bound)
	for _, perFilter := range config.GetTypedPerFilterConfig() {
		p.reference(at, perFilter)
	}
	for i, host := range config.GetVirtualHosts() {
		at.Route = config.GetName() + "/" + host.GetName()
		for _, perFilter := range host.GetTypedPerFilterConfig() {
			p.reference(at, perFilter)
		}
		for n, route := range host.GetRoutes() {
			at.Route = fmt.Sprintf("%s/%s/%s", config.GetName(), host.GetName(), routeName(route, n))
			for _, perFilter := range route.GetTypedPerFilterConfig() {
				p.reference(at, perFilter)
			}
			p.route(at, route, origins[i])
			// A route's own mirrors replace those above it.
			mirrors := host.GetRequestMirrorPolicies()
			if len(mirrors) == 0 {
				mirrors = config.GetRequestMirrorPolicies()
			}
			if own := route.GetRoute().GetRequestMirrorPolicies(); len(own) > 0 {
				mirrors = own
			}
			p.mirrors(at, mirrors, origins[i])
		}
	}
}

// routeName returns the name that istiod gives a route, or else its place in the virtual host.
func routeName(route *routev3.Route, n int) string {
	if route.GetName() != "" {
		return route.GetName()
	}
	return fmt.Sprintf("#%d", n)
}

// virtualHosts returns, for each virtual host by its place, the hosts to verify whose requests Envoy gives to it: an
// exact domain first, else the longest wildcard suffix. The domain * counts only on a listener that is the host's
// own; elsewhere it is for what istiod knows no host for, where the address decides that the client dials.
func (p *paths) virtualHosts(config *routev3.RouteConfiguration, bound []string) map[int][]string {
	exact, suffixes := map[string][]int{}, map[string][]int{}
	for i, host := range config.GetVirtualHosts() {
		for _, domain := range host.GetDomains() {
			domain, _, _ = strings.Cut(domain, ":")
			if suffix, ok := strings.CutPrefix(domain, "*"); ok {
				suffixes[suffix] = append(suffixes[suffix], i)
			} else if _, ok := p.fenced[domain]; ok {
				exact[domain] = append(exact[domain], i)
			}
		}
	}
	origins := map[int][]string{}
	add := func(host string, places []int) {
		for _, i := range places {
			origins[i] = append(origins[i], host)
		}
	}
	for alias, places := range exact {
		add(p.fenced[alias], places)
	}
	for alias, host := range p.mayMatch(suffixes, bound) {
		if exact[alias] != nil {
			continue
		}
		var chosen []int
		for n := 1; n < len(alias) && chosen == nil; n++ {
			chosen = suffixes[alias[n:]]
		}
		if chosen == nil && slices.Contains(bound, host) {
			chosen = suffixes[""]
		}
		add(host, chosen)
	}
	return origins
}

// mayMatch returns the names that wildcards may be for: without any but *, those of the listener's own hosts alone.
func (p *paths) mayMatch(suffixes map[string][]int, bound []string) fenced {
	if len(suffixes) > 1 || len(suffixes) == 1 && suffixes[""] == nil {
		return p.fenced
	}
	own := fenced{}
	for _, host := range bound {
		for _, alias := range aliases(host) {
			own[alias] = host
		}
	}
	return own
}

// route follows one route to its clusters.
func (p *paths) route(at Path, route *routev3.Route, origins []string) {
	if redirect := route.GetRedirect(); redirect != nil {
		p.note(fmt.Sprintf("route %s redirects the client to %q", at.Route, redirect.GetHostRedirect()), origins...)
	}
	action := route.GetRoute()
	if action.GetInternalRedirectPolicy() != nil {
		p.note(fmt.Sprintf("route %s follows redirects of the server to any other route of its listener", at.Route), origins...)
	}
	switch specifier := action.GetClusterSpecifier().(type) {
	case *routev3.RouteAction_Cluster:
		at.Via, at.Cluster = viaRoute, specifier.Cluster
		p.add(at, origins)
	case *routev3.RouteAction_WeightedClusters:
		for _, weighted := range specifier.WeightedClusters.GetClusters() {
			for _, perFilter := range weighted.GetTypedPerFilterConfig() {
				p.reference(at, perFilter)
			}
			if weighted.GetName() == "" {
				p.header(at, weighted.GetClusterHeader())
				continue
			}
			if weighted.GetWeight().GetValue() == 0 {
				continue // takes no request
			}
			at.Via, at.Cluster = viaWeighted, weighted.GetName()
			p.add(at, origins)
		}
	case *routev3.RouteAction_ClusterHeader:
		p.header(at, specifier.ClusterHeader)
	case *routev3.RouteAction_ClusterSpecifierPlugin, *routev3.RouteAction_InlineClusterSpecifierPlugin:
		p.note(fmt.Sprintf("route %s has its cluster chosen by a plugin: unknown", at.Route), "")
	}
}

func (p *paths) mirrors(at Path, policies []*routev3.RouteAction_RequestMirrorPolicy, origins []string) {
	for _, policy := range policies {
		if policy.GetCluster() == "" {
			p.header(at, policy.GetClusterHeader())
			continue
		}
		at.Via, at.Cluster = viaMirror, policy.GetCluster()
		p.add(at, origins)
	}
}

// header notes for every host that a request can name any cluster.
func (p *paths) header(at Path, header string) {
	p.note(fmt.Sprintf("route %s sends a request to the cluster that its header %s names: unknown", at.Route, header), "")
}
