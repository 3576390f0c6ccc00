package xds

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
)

// routeNames returns the route configurations that listeners ask for by name, sorted.
func routeNames(listeners []*listenerv3.Listener) ([]string, error) {
	var names []string
	for _, listener := range listeners {
		for _, chain := range filterChains(listener) {
			for _, filter := range chain.GetFilters() {
				var manager hcmv3.HttpConnectionManager
				if !filter.GetTypedConfig().MessageIs(&manager) {
					continue
				}
				if err := filter.GetTypedConfig().UnmarshalTo(&manager); err != nil {
					return nil, fmt.Errorf("decode listener %s: %w", listener.GetName(), err)
				}
				if name := manager.GetRds().GetRouteConfigName(); name != "" {
					names = append(names, name)
				}
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

func filterChains(listener *listenerv3.Listener) []*listenerv3.FilterChain {
	chains := slices.Clone(listener.GetFilterChains())
	if chain := listener.GetDefaultFilterChain(); chain != nil {
		chains = append(chains, chain)
	}
	return chains
}

func (p *paths) listener(listener *listenerv3.Listener) {
	at := Path{Listener: listener.GetName()}
	p.accessLogs(at, listener.GetAccessLog())
	for _, filter := range listener.GetListenerFilters() {
		p.reference(at, filter.GetTypedConfig())
	}
	addresses := []*corev3.Address{listener.GetAddress()}
	for _, more := range listener.GetAdditionalAddresses() {
		addresses = append(addresses, more.GetAddress())
	}
	var bound []string
	for _, address := range addresses {
		bound = append(bound, p.named(address.GetSocketAddress().GetAddress())...)
	}
	for _, chain := range filterChains(listener) {
		at.FilterChain = chain.GetName()
		if chain == listener.GetDefaultFilterChain() {
			at.FilterChain = "default"
		}
		p.chain(at, chain, slices.Concat(bound, p.matched(chain.GetFilterChainMatch())))
	}
}

// named returns the hosts to verify that the name table gives an address to: what a client dials there is meant for
// them, wherever the listener sends it.
func (p *paths) named(address string) []string {
	parsed, err := netip.ParseAddr(address)
	if err != nil {
		return nil
	}
	return p.byAddress[parsed]
}

// matched returns the hosts to verify that a filter chain asks for, by address or by SNI.
func (p *paths) matched(match *listenerv3.FilterChainMatch) []string {
	var hosts []string
	for _, prefix := range match.GetPrefixRanges() {
		address, err := netip.ParseAddr(prefix.GetAddressPrefix())
		if err == nil && address.BitLen() == int(prefix.GetPrefixLen().GetValue()) {
			hosts = append(hosts, p.named(prefix.GetAddressPrefix())...)
		}
	}
	for _, name := range match.GetServerNames() {
		if host, ok := p.fenced[cmp.Or(clusterHost(name), name)]; ok {
			hosts = append(hosts, host)
		}
	}
	return hosts
}

func (p *paths) chain(at Path, chain *listenerv3.FilterChain, origins []string) {
	for _, filter := range chain.GetFilters() {
		config := filter.GetTypedConfig()
		var manager hcmv3.HttpConnectionManager
		var proxy tcpv3.TcpProxy
		switch {
		case config.MessageIs(&manager):
			if p.decoded(at, config.UnmarshalTo(&manager)) {
				p.http(at, &manager, origins)
			}
		case config.MessageIs(&proxy):
			if p.decoded(at, config.UnmarshalTo(&proxy)) {
				p.tcp(at, &proxy, origins)
			}
		default:
			p.reference(at, config)
		}
	}
}

// decoded notes for every host what could not be read.
func (p *paths) decoded(at Path, err error) bool {
	if err != nil {
		p.note(fmt.Sprintf("listener %s cannot be read: %v", at.Listener, err), "")
	}
	return err == nil
}

func (p *paths) tcp(at Path, proxy *tcpv3.TcpProxy, origins []string) {
	p.accessLogs(at, proxy.GetAccessLog())
	at.Via = viaTCP
	if tunnel := proxy.GetTunnelingConfig(); tunnel != nil {
		at.Via = viaTunnel
		target := tunnel.GetHostname()
		if host, _, err := net.SplitHostPort(target); err == nil {
			target = host
		}
		if host, ok := p.fenced[strings.TrimSuffix(target, ".")]; ok && !slices.Contains(origins, host) {
			origins = append(slices.Clone(origins), host)
		}
	}
	if name := proxy.GetCluster(); name != "" {
		at.Cluster = name
		p.add(at, origins)
	}
	for _, weighted := range proxy.GetWeightedClusters().GetClusters() {
		at.Cluster = weighted.GetName()
		if at.Via == viaTCP {
			at.Via = viaWeighted
		}
		p.add(at, origins)
	}
}

func (p *paths) http(at Path, manager *hcmv3.HttpConnectionManager, origins []string) {
	p.accessLogs(at, manager.GetAccessLog())
	p.reference(at, manager.GetTracing().GetProvider().GetTypedConfig())
	for _, filter := range manager.GetHttpFilters() {
		p.reference(at, filter.GetTypedConfig())
	}
	switch specifier := manager.GetRouteSpecifier().(type) {
	case *hcmv3.HttpConnectionManager_Rds:
		p.routes(at, p.snapshot.Routes[specifier.Rds.GetRouteConfigName()], origins)
	case *hcmv3.HttpConnectionManager_RouteConfig:
		p.routes(at, specifier.RouteConfig, origins)
	case *hcmv3.HttpConnectionManager_ScopedRoutes:
		p.note(fmt.Sprintf("listener %s has scoped routes, which are not followed", at.Listener), "")
	}
}

func (p *paths) accessLogs(at Path, logs []*accesslogv3.AccessLog) {
	for _, log := range logs {
		p.reference(at, log.GetTypedConfig())
	}
}
