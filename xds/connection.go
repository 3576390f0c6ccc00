package xds

import (
	"net/netip"
	"slices"
)

// Protocol is what the first bytes of a connection look like.
type Protocol string

const (
	// TCP is a connection of which no byte looks like HTTP or TLS; the server may be the one who speaks first.
	TCP Protocol = "tcp"
	// HTTP is HTTP/1.1 in plain text.
	HTTP Protocol = "http"
	// HTTP2 is HTTP/2 in plain text, without an upgrade.
	HTTP2 Protocol = "http2"
	// TLS starts with a ClientHello. Where the proxy ends it, a request for Probe.Host follows.
	TLS Protocol = "tls"
)

// Probe is one connection that a client makes, or one request on it.
type Probe struct {
	// Address is the one that the client dials; for a gateway, any address with the port of its listener.
	Address  netip.AddrPort
	Protocol Protocol
	// Host is the header of a request; inside TLS it is SNI unless set.
	Host string
	// SNI is the name that a ClientHello asks for; empty for none.
	SNI string
	// ALPN are the protocols that a ClientHello offers.
	ALPN []string
}

// Verdict says where a connection ends.
type Verdict string

const (
	// Stays reports whether all places where it can end are in the client's cluster.
	Stays Verdict = "stays"
	// Leaves reports whether it can end in another cluster.
	Leaves Verdict = "leaves"
	// Nowhere reports whether it ends at the proxy, or fails.
	Nowhere Verdict = "nowhere"
	// Unclear reports whether the configuration does not tell, or that nobody knows in which cluster an endpoint is.
	Unclear Verdict = "unclear"
)

// Outcome is one thing that can become of a connection. Several are possible where a route matches some requests, or
// several clusters share the load.
type Outcome struct {
	Path
	Verdict Verdict `json:"verdict"`
	// Endpoints are all that it can end at, whatever their cluster.
	Endpoints []Endpoint `json:"endpoints,omitempty"`
	// Reason says why it does not stay; empty where it does.
	Reason string `json:"reason,omitempty"`
	// Open is why Endpoints may not be all; empty where they are.
	Open string `json:"open,omitempty"`
	// AnyName reports whether the virtual host or the filter chain takes it whatever name it asks for.
	AnyName bool `json:"anyName,omitempty"`
	// EndsTLS reports whether the filter chain ends the TLS of the connection itself.
	EndsTLS bool `json:"endsTLS,omitempty"`
}

// Resolver answers what a proxy does with connections, in the order in which Envoy's documentation says that it
// decides: listener, filter chain, virtual host, route, cluster, endpoint. What it reads of a snapshot it keeps, so
// that a further question costs no walk. It is not safe for concurrent use.
type Resolver struct {
	snapshot  *Snapshot
	judge     judge
	listeners listenerIndex
	chains    map[listenerKey]*chainIndex
	ends      map[chainKey]*chainEnd
	hosts     map[routesKey]*hostIndex
	targets   map[hostKey][]target
	pools     map[string]judged
	// placed are the clusters of the addresses of endpoints, as their metadata says.
	placed map[netip.Addr]string
	names  *nameTable
}

// NewResolver prepares a snapshot for questions. Rules.Addresses and Rules.Services say where addresses are.
func NewResolver(s *Snapshot, rules Rules) *Resolver {
	return &Resolver{
		snapshot:  s,
		judge:     newJudge(s, rules),
		listeners: indexListeners(s.Listeners),
		chains:    map[listenerKey]*chainIndex{},
		ends:      map[chainKey]*chainEnd{},
		hosts:     map[routesKey]*hostIndex{},
		targets:   map[hostKey][]target{},
		pools:     map[string]judged{},
	}
}

// Resolve answers one question. Who has many for a snapshot asks a [Resolver].
func (s *Snapshot) Resolve(p Probe, rules Rules) []Outcome {
	return NewResolver(s, rules).Resolve(p)
}

// Resolve returns everything that can become of a connection; there is always something.
func (r *Resolver) Resolve(p Probe) []Outcome {
	listener := r.listeners.pick(p.Address)
	if listener == nil {
		return []Outcome{{Verdict: Nowhere, Reason: "no listener takes the address"}}
	}
	path := Path{Listener: listener.GetName()}
	chains := r.chainsOf(listener).pick(p)
	if len(chains) == 0 {
		return []Outcome{{Path: path, Verdict: Nowhere, Reason: "no filter chain takes the connection"}}
	}
	var outcomes []Outcome
	for _, chain := range chains {
		path.FilterChain = chain.GetName()
		if chain == listener.GetDefaultFilterChain() {
			path.FilterChain = defaultChain
		}
		for _, outcome := range r.chain(path, chain, p) {
			outcome.EndsTLS = p.Protocol == TLS && chain.GetTransportSocket() != nil
			outcome.AnyName = outcome.AnyName || outcome.Route == "" && len(chain.GetFilterChainMatch().GetServerNames()) == 0
			outcomes = append(outcomes, outcome)
		}
	}
	return slices.CompactFunc(outcomes, func(a, b Outcome) bool { return a.Path == b.Path && a.Reason == b.Reason })
}
