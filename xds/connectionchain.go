package xds

import (
	"net/netip"
	"slices"
	"strings"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
)

// The names by which a filter chain asks for a transport protocol.
const (
	transportTLS = "tls"
	transportRaw = "raw_buffer"
)

// defaultChain stands for the default filter chain in a Path.
const defaultChain = "default"

// anything is the key of a level for the filter chains that ask for nothing there.
const anything = ""

type listenerKey = *listenerv3.Listener

// chainIndex finds the filter chains that take a connection, as Envoy documents it (FilterChainMatch): destination
// port, longest prefix of the destination, server name, transport protocol, application protocol. Once a level has a
// match, what is less specific there is out, also where nothing below matches: then the default filter chain counts.
// What follows asks for the source of the connection, which is any client's.
type chainIndex struct {
	listener *listenerv3.Listener
	ports    map[uint32]*prefixLevel // 0 is any port
	// tls and http say on which ports a connection has been looked into.
	tls, http inspectors
}

// prefixLevel holds server names by prefix of the destination.
type prefixLevel struct {
	bits []int // the lengths of prefixes, longest first
	of   map[netip.Prefix]nameLevel
}

type (
	nameLevel        map[string]transportLevel // a leading dot stands for a wildcard
	transportLevel   map[string]applicationLevel
	applicationLevel map[string][]*listenerv3.FilterChain
)

func (r *Resolver) chainsOf(listener *listenerv3.Listener) *chainIndex {
	if index := r.chains[listener]; index != nil {
		return index
	}
	// The listener that iptables redirects to looks first, and what it has seen counts for the one that it hands the
	// connection to.
	through := []*listenerv3.Listener{r.listeners.virtual, listener}
	index := &chainIndex{
		listener: listener, ports: map[uint32]*prefixLevel{},
		tls:  inspectorsOf(through, "envoy.filters.listener.tls_inspector"),
		http: inspectorsOf(through, "envoy.filters.listener.http_inspector"),
	}
	for _, chain := range listener.GetFilterChains() {
		index.add(chain)
	}
	for _, level := range index.ports {
		for prefix := range level.of {
			level.bits = append(level.bits, prefix.Bits())
		}
		slices.SortFunc(level.bits, func(a, b int) int { return b - a })
		level.bits = slices.Compact(level.bits)
	}
	r.chains[listener] = index
	return index
}

// add enters a chain under everything that it asks for.
func (x *chainIndex) add(chain *listenerv3.FilterChain) {
	match := chain.GetFilterChainMatch()
	port := match.GetDestinationPort().GetValue()
	level := x.ports[port]
	if level == nil {
		level = &prefixLevel{of: map[netip.Prefix]nameLevel{}}
		x.ports[port] = level
	}
	for _, prefix := range prefixes(match) {
		names := child(level.of, prefix)
		for _, name := range orAnything(match.GetServerNames()) {
			if wildcard, ok := strings.CutPrefix(name, "*."); ok {
				name = "." + wildcard
			}
			applications := child(child(names, name), match.GetTransportProtocol())
			for _, protocol := range orAnything(match.GetApplicationProtocols()) {
				applications[protocol] = append(applications[protocol], chain)
			}
		}
	}
}

// child returns the level below a key, which it makes where there is none.
func child[K, L comparable, V any, M ~map[L]V](of map[K]M, key K) M {
	if of[key] == nil {
		of[key] = M{}
	}
	return of[key]
}

func orAnything(values []string) []string {
	if len(values) == 0 {
		return []string{anything}
	}
	return values
}

// prefixes returns those of the destination that a chain asks for; all addresses where it asks for none.
func prefixes(match *listenerv3.FilterChainMatch) []netip.Prefix {
	if len(match.GetPrefixRanges()) == 0 {
		return []netip.Prefix{
			netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0),
		}
	}
	var found []netip.Prefix
	for _, of := range match.GetPrefixRanges() {
		address, err := netip.ParseAddr(of.GetAddressPrefix())
		if err != nil {
			continue // Envoy refuses such a listener
		}
		if prefix, err := address.Prefix(int(of.GetPrefixLen().GetValue())); err == nil {
			found = append(found, prefix)
		}
	}
	return found
}

// pick returns the filter chains that take a connection: one, unless several differ only in its source.
func (x *chainIndex) pick(p Probe) []*listenerv3.FilterChain {
	if x.listener.GetFilterChainMatcher() != nil {
		return filterChains(x.listener) // a tree of matchers chooses by whatever it likes
	}
	if chains := x.match(x.detect(p)); len(chains) > 0 {
		return chains
	}
	if chain := x.listener.GetDefaultFilterChain(); chain != nil {
		return []*listenerv3.FilterChain{chain}
	}
	return nil
}

// seen is what Envoy knows of a connection when it chooses.
type seen struct {
	address      netip.AddrPort
	name         string
	transport    string
	applications []string
}

// detect does the work of the listener filters.
func (x *chainIndex) detect(p Probe) seen {
	s := seen{address: p.Address, transport: transportRaw}
	switch p.Protocol {
	case TLS:
		if x.tls.on(p.Address.Port()) {
			s.name, s.transport, s.applications = strings.ToLower(p.SNI), transportTLS, p.ALPN
		}
	case HTTP:
		if x.http.on(p.Address.Port()) {
			s.applications = []string{"http/1.1"}
		}
	case HTTP2:
		if x.http.on(p.Address.Port()) {
			s.applications = []string{"h2c"}
		}
	}
	return s
}

func (x *chainIndex) match(s seen) []*listenerv3.FilterChain {
	level := x.ports[uint32(s.address.Port())]
	if level == nil {
		level = x.ports[0]
	}
	transports := level.names(s.address.Addr().Unmap()).transports(s.name)
	applications, ok := transports[s.transport]
	if !ok {
		applications = transports[anything]
	}
	for _, protocol := range s.applications {
		if chains := applications[protocol]; len(chains) > 0 {
			return chains
		}
	}
	return applications[anything]
}

// names returns what is under the longest prefix that holds an address.
func (l *prefixLevel) names(address netip.Addr) nameLevel {
	if l == nil {
		return nil
	}
	for _, bits := range l.bits {
		prefix, err := address.Prefix(bits)
		if err != nil {
			continue // longer than an IPv4 address
		}
		if names := l.of[prefix]; names != nil {
			return names
		}
	}
	return nil
}

// transports returns what is under a name, else under the longest wildcard for it, else under no name.
func (l nameLevel) transports(name string) transportLevel {
	if name != "" && l[name] != nil {
		return l[name]
	}
	for rest := name; rest != ""; {
		dot := strings.IndexByte(rest[1:], '.')
		if dot < 0 {
			break
		}
		rest = rest[dot+1:]
		if l[rest] != nil {
			return l[rest]
		}
	}
	return l[anything]
}

// inspectors are listener filters that look into connections, by the conditions under which they do not; nil is never.
type inspectors []*listenerv3.ListenerFilterChainMatchPredicate

func inspectorsOf(listeners []*listenerv3.Listener, name string) inspectors {
	var found inspectors
	for _, listener := range listeners {
		for _, filter := range listener.GetListenerFilters() {
			if filter.GetName() == name {
				found = append(found, filter.GetFilterDisabled())
			}
		}
	}
	return found
}

// on reports whether one of them looks into connections to a port.
func (i inspectors) on(port uint16) bool {
	return slices.ContainsFunc(i, func(disabled *listenerv3.ListenerFilterChainMatchPredicate) bool {
		return disabled == nil || !predicate(disabled, int32(port))
	})
}

// predicate reports whether a connection to a port fulfils a condition.
func predicate(of *listenerv3.ListenerFilterChainMatchPredicate, port int32) bool {
	holds := func(rule *listenerv3.ListenerFilterChainMatchPredicate) bool { return predicate(rule, port) }
	switch rule := of.GetRule().(type) {
	case *listenerv3.ListenerFilterChainMatchPredicate_AnyMatch:
		return rule.AnyMatch
	case *listenerv3.ListenerFilterChainMatchPredicate_NotMatch:
		return !holds(rule.NotMatch)
	case *listenerv3.ListenerFilterChainMatchPredicate_OrMatch:
		return slices.ContainsFunc(rule.OrMatch.GetRules(), holds)
	case *listenerv3.ListenerFilterChainMatchPredicate_AndMatch:
		return !slices.ContainsFunc(rule.AndMatch.GetRules(), func(r *listenerv3.ListenerFilterChainMatchPredicate) bool { return !holds(r) })
	case *listenerv3.ListenerFilterChainMatchPredicate_DestinationPortRange:
		return rule.DestinationPortRange.GetStart() <= port && port < rule.DestinationPortRange.GetEnd()
	}
	return false
}
