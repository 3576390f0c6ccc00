package xds

import (
	"cmp"
	"fmt"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	sniclusterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/sni_cluster/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
)

type (
	chainKey = *listenerv3.FilterChain
	hostKey  struct {
		config *routev3.RouteConfiguration
		host   *routev3.VirtualHost
	}
)

// target is where a connection or a request is sent: a cluster by name, or what is said instead.
type target struct {
	route, via, cluster string
	verdict             Verdict
	reason              string
}

// chainEnd is what the filters of a chain come to.
type chainEnd struct {
	http       *hcmv3.HttpConnectionManager
	tcp        *tcpv3.TcpProxy
	sniCluster bool // the cluster is the one that the client names by SNI
	terminates bool // TLS ends here
	other      string
}

func (r *Resolver) endOf(chain *listenerv3.FilterChain) *chainEnd {
	if end := r.ends[chain]; end != nil {
		return end
	}
	end := &chainEnd{terminates: chain.GetTransportSocket() != nil}
	for _, filter := range chain.GetFilters() {
		end.add(filter)
	}
	r.ends[chain] = end
	return end
}

func (e *chainEnd) add(filter *listenerv3.Filter) {
	config := filter.GetTypedConfig()
	var manager hcmv3.HttpConnectionManager
	var proxy tcpv3.TcpProxy
	var err error
	switch {
	case config.MessageIs(&manager):
		err = config.UnmarshalTo(&manager)
		e.http = &manager
	case config.MessageIs(&proxy):
		err = config.UnmarshalTo(&proxy)
		e.tcp = &proxy
	case config.MessageIs(&sniclusterv3.SniCluster{}):
		e.sniCluster = true
	default:
		e.other = cmp.Or(filter.GetName(), config.GetTypeUrl())
	}
	if err != nil {
		e.other, e.http, e.tcp = fmt.Sprintf("%s, which cannot be read: %v", filter.GetName(), err), nil, nil
	}
}

// chain follows a connection that a filter chain has taken.
func (r *Resolver) chain(path Path, chain *listenerv3.FilterChain, p Probe) []Outcome {
	end := r.endOf(chain)
	switch {
	case end.terminates && p.Protocol != TLS:
		return []Outcome{{Path: path, Verdict: Nowhere, Reason: "the filter chain expects TLS"}}
	case end.http != nil:
		return r.request(path, end, p)
	case end.tcp != nil:
		return r.connect(path, end, p)
	case end.other != "":
		return []Outcome{{Path: path, Verdict: Unclear, Reason: "the connection ends at filter " + end.other}}
	}
	return []Outcome{{Path: path, Verdict: Nowhere, Reason: "the filter chain has no filter that sends anything on"}}
}

// connect follows a connection to the clusters of a TCP proxy.
func (r *Resolver) connect(path Path, end *chainEnd, p Probe) []Outcome {
	if end.sniCluster && p.SNI != "" {
		path.Via, path.Cluster = viaTCP, p.SNI
		return r.cluster(path, p, 0)
	}
	via, weighted := viaTCP, viaWeighted
	if end.tcp.GetTunnelingConfig() != nil {
		via, weighted = viaTunnel, viaTunnel
	}
	if name := end.tcp.GetCluster(); name != "" {
		path.Via, path.Cluster = via, name
		return r.cluster(path, p, 0)
	}
	var outcomes []Outcome
	for _, of := range end.tcp.GetWeightedClusters().GetClusters() {
		path.Via, path.Cluster = weighted, of.GetName()
		outcomes = append(outcomes, r.cluster(path, p, 0)...)
	}
	return outcomes
}

// request follows an HTTP request to the clusters of every route of its virtual host that may match.
func (r *Resolver) request(path Path, end *chainEnd, p Probe) []Outcome {
	if p.Protocol == TCP || p.Protocol == TLS && !end.terminates {
		return []Outcome{{Path: path, Verdict: Nowhere, Reason: "the filter chain expects HTTP in plain text"}}
	}
	config, problem := r.routeConfiguration(end.http)
	if config == nil {
		return []Outcome{{Path: path, Verdict: problem.verdict, Reason: problem.reason}}
	}
	asked := p.Host
	if asked == "" && p.Protocol == TLS {
		asked = p.SNI
	}
	path.Route = config.GetName()
	if config.GetVhostHeader() != "" {
		return []Outcome{{Path: path, Verdict: Unclear, Reason: "the header " + config.GetVhostHeader() + " of a request chooses the virtual host"}}
	}
	host, anyName := r.hostsOf(config).pick(authority(asked, p.Address.Port(), end.http, config))
	if host == nil {
		return []Outcome{{Path: path, Verdict: Nowhere, Reason: fmt.Sprintf("no virtual host takes %q", asked)}}
	}
	var outcomes []Outcome
	for _, to := range r.targetsOf(config, host) {
		path.Route, path.Via, path.Cluster = to.route, to.via, to.cluster
		if to.verdict != "" {
			outcomes = append(outcomes, Outcome{Path: path, Verdict: to.verdict, Reason: to.reason})
			continue
		}
		outcomes = append(outcomes, r.cluster(path, p, 0)...)
	}
	for i := range outcomes {
		outcomes[i].AnyName = anyName
	}
	return outcomes
}

// routeConfiguration returns that of a connection manager, or why there is none.
func (r *Resolver) routeConfiguration(manager *hcmv3.HttpConnectionManager) (*routev3.RouteConfiguration, target) {
	switch specifier := manager.GetRouteSpecifier().(type) {
	case *hcmv3.HttpConnectionManager_Rds:
		name := specifier.Rds.GetRouteConfigName()
		if config := r.snapshot.Routes[name]; config != nil {
			return config, target{}
		}
		return nil, target{verdict: Nowhere, reason: "route configuration " + name + " does not exist"}
	case *hcmv3.HttpConnectionManager_RouteConfig:
		return specifier.RouteConfig, target{}
	case *hcmv3.HttpConnectionManager_ScopedRoutes:
		return nil, target{verdict: Unclear, reason: "scoped routes are not followed"}
	}
	return nil, target{verdict: Nowhere, reason: "there are no routes"}
}

// targetsOf returns those of every route up to the first that matches all requests.
func (r *Resolver) targetsOf(config *routev3.RouteConfiguration, host *routev3.VirtualHost) []target {
	key := hostKey{config, host}
	if targets, ok := r.targets[key]; ok {
		return targets
	}
	targets := []target{}
	if host.GetMatcher() != nil {
		name := config.GetName() + "/" + host.GetName()
		targets = append(targets, target{route: name, verdict: Unclear, reason: "a tree of matchers chooses the route"})
	}
	for n, route := range host.GetRoutes() {
		name := fmt.Sprintf("%s/%s/%s", config.GetName(), host.GetName(), routeName(route, n))
		for _, to := range slices.Concat(actions(route), shadows(config, host, route)) {
			to.route = name
			targets = append(targets, to)
		}
		if matchesAll(route.GetMatch()) {
			break
		}
	}
	if len(targets) == 0 {
		targets = append(targets, target{route: config.GetName() + "/" + host.GetName(), verdict: Nowhere, reason: "the virtual host has no route"})
	}
	r.targets[key] = targets
	return targets
}

// actions returns what a route does with a request.
func actions(route *routev3.Route) []target {
	if redirect := route.GetRedirect(); redirect != nil {
		return []target{{verdict: Nowhere, reason: fmt.Sprintf("the client is redirected to %q", redirect.GetHostRedirect())}}
	}
	action := route.GetRoute()
	if action == nil {
		return []target{{verdict: Nowhere, reason: "the proxy answers itself"}}
	}
	switch specifier := action.GetClusterSpecifier().(type) {
	case *routev3.RouteAction_Cluster:
		return []target{{via: viaRoute, cluster: specifier.Cluster}}
	case *routev3.RouteAction_WeightedClusters:
		return weighted(specifier.WeightedClusters)
	case *routev3.RouteAction_ClusterHeader:
		return []target{byHeader(specifier.ClusterHeader)}
	}
	return []target{{verdict: Unclear, reason: "a plugin chooses the cluster"}}
}

// weighted leaves out what a weight of 0 keeps requests from.
func weighted(of *routev3.WeightedCluster) []target {
	var targets []target
	for _, cluster := range of.GetClusters() {
		switch {
		case cluster.GetName() == "":
			targets = append(targets, byHeader(cluster.GetClusterHeader()))
		case cluster.GetWeight().GetValue() > 0:
			targets = append(targets, target{via: viaWeighted, cluster: cluster.GetName()})
		}
	}
	return targets
}

func byHeader(name string) target {
	return target{verdict: Unclear, reason: "the header " + name + " of a request names the cluster"}
}

// shadows returns where copies of a request go; what is said nearer to the route replaces the rest.
func shadows(config *routev3.RouteConfiguration, host *routev3.VirtualHost, route *routev3.Route) []target {
	if route.GetRoute() == nil {
		return nil
	}
	policies := route.GetRoute().GetRequestMirrorPolicies()
	for _, above := range [][]*routev3.RouteAction_RequestMirrorPolicy{host.GetRequestMirrorPolicies(), config.GetRequestMirrorPolicies()} {
		if len(policies) == 0 {
			policies = above
		}
	}
	var targets []target
	for _, policy := range policies {
		switch {
		case never(policy.GetRuntimeFraction()):
		case policy.GetCluster() == "":
			targets = append(targets, byHeader(policy.GetClusterHeader()))
		default:
			targets = append(targets, target{via: viaMirror, cluster: policy.GetCluster()})
		}
	}
	return targets
}

// never reports whether a fraction is none, and stays it.
func never(fraction *corev3.RuntimeFractionalPercent) bool {
	return fraction.GetDefaultValue() != nil && fraction.GetDefaultValue().GetNumerator() == 0 && fraction.GetRuntimeKey() == ""
}

// matchesAll reports whether a route takes every request that has come to it.
func matchesAll(match *routev3.RouteMatch) bool {
	if len(match.GetHeaders())+len(match.GetQueryParameters())+len(match.GetDynamicMetadata())+len(match.GetFilterState())+
		len(match.GetCookies()) > 0 || match.GetGrpc() != nil || match.GetTlsContext() != nil || match.GetRuntimeFraction() != nil {
		return false
	}
	switch path := match.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix:
		return path.Prefix == "" || path.Prefix == "/"
	case *routev3.RouteMatch_SafeRegex:
		return slices.Contains([]string{".*", "/.*"}, path.SafeRegex.GetRegex())
	}
	return false
}
