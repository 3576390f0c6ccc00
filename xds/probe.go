package xds

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
)

// prober asks as one client what becomes of every connection that is meant for a host.
type prober struct {
	resolver *Resolver
	facts    facts
	// ports are those of a gateway's listeners.
	ports []uint16
}

// asked is one probe, and the name that the client has asked DNS for where that led it to the address.
type asked struct {
	Probe
	name string
}

// String says it as a user would try it.
func (a asked) String() string {
	text := fmt.Sprintf("%s %s", a.Protocol, a.Address)
	if a.Host != "" {
		text += " Host " + a.Host
	}
	if a.SNI != "" {
		text += " SNI " + a.SNI
	}
	if len(a.ALPN) > 0 {
		text += " ALPN " + strings.Join(a.ALPN, ",")
	}
	if a.name != "" {
		text = fmt.Sprintf("%s, which DNS answers %s with", text, a.name)
	}
	return text
}

func newProber(s *Snapshot, rules Rules, facts facts, hosts []Host) *prober {
	p := &prober{facts: facts}
	rules.Services = maps.Clone(rules.Services)
	if rules.Services == nil {
		rules.Services = map[netip.Addr]bool{}
	}
	for _, host := range hosts {
		known := slices.Clone(host.Addresses)
		of := facts[host.FQDN]
		// What a ServiceEntry of that name gives is no address of a Service.
		if _, ok := s.service(host.FQDN); ok && of != nil && !of.headless {
			known = append(known, of.addresses...)
		}
		for _, address := range known {
			rules.Services[address] = true
		}
	}
	p.resolver = NewResolver(s, rules)
	if s.Proxy.Kind == Gateway {
		p.ports = listening(s)
	}
	return p
}

// listening returns the ports that listeners take connections on, sorted.
func listening(s *Snapshot) []uint16 {
	ports := map[uint16]bool{}
	for _, listener := range s.Listeners {
		ports[uint16(listener.GetAddress().GetSocketAddress().GetPortValue())] = true
	}
	delete(ports, 0)
	return slices.Sorted(maps.Keys(ports))
}

// probes returns every connection that is meant for a host: one after the other, since they are many.
func (p *prober) probes(host Host) iter.Seq[asked] {
	if p.resolver.snapshot.Proxy.Kind == Gateway {
		return p.throughGateway(host)
	}
	return func(yield func(asked) bool) {
		addresses, ports := p.addresses(host), p.portsOf(host)
		for _, address := range addresses {
			for _, port := range ports {
				for probe := range p.to(host.FQDN, netip.AddrPortFrom(address, port)) {
					if !yield(asked{Probe: probe}) {
						return
					}
				}
			}
		}
		for probe := range p.byName(host, addresses, ports) {
			if !yield(probe) {
				return
			}
		}
	}
}

// addresses are those that a client dials: what the name table gives for the host and its Pods, and what the Service
// has. Who does not ask the name table gets no address of another cluster for a name.
func (p *prober) addresses(host Host) []netip.Addr {
	var told []netip.Addr
	if of := p.facts[host.FQDN]; of != nil {
		for _, address := range of.addresses {
			placed := p.resolver.judge.addresses.cluster(address.String())
			if p.resolver.snapshot.Proxy.DNSCapture || placed == "" || placed == p.resolver.judge.own {
				told = append(told, address)
			}
		}
	}
	return union(slices.Concat(host.Addresses, host.Pods), told, netip.Addr.Compare)
}

// portsOf are those of the Service, and those that the client has clusters for.
func (p *prober) portsOf(host Host) []uint16 {
	if of := p.facts[host.FQDN]; of != nil {
		return union(host.Ports, of.ports, cmp.Compare[uint16])
	}
	return host.Ports
}

// to returns the probes of one address and port.
func (p *prober) to(fqdn string, address netip.AddrPort) iter.Seq[Probe] {
	return func(yield func(Probe) bool) {
		names := p.names(fqdn)
		if !yield(Probe{Address: address, Protocol: TCP}) {
			return
		}
		for _, host := range slices.Concat(spelled(names, address.Port()), []string{address.String(), address.Addr().String()}) {
			if !yield(Probe{Address: address, Protocol: HTTP, Host: host}) {
				return
			}
		}
		if !yield(Probe{Address: address, Protocol: HTTP2, Host: withPort(fqdn, address.Port())}) {
			return
		}
		for _, sni := range append(names, "") {
			for _, alpn := range [][]string{nil, {"h2", "http/1.1"}} {
				if !yield(Probe{Address: address, Protocol: TLS, SNI: sni, ALPN: alpn}) {
					return
				}
			}
		}
	}
}

// names are those by which a client in that namespace calls a host.
func (p *prober) names(fqdn string) []string {
	proxy := p.resolver.snapshot.Proxy
	names := []string{fqdn}
	short, ok := strings.CutSuffix(fqdn, ".svc."+cmp.Or(proxy.Domain, defaultDomain))
	if !ok {
		return names
	}
	names = append(names, short+".svc", short)
	if name, ok := strings.CutSuffix(short, "."+proxy.Namespace); ok {
		names = append(names, name)
	}
	return names
}

// spelled returns all spellings of names in the header Host: with and without the port, in upper case, with a closing
// dot.
func spelled(names []string, port uint16) []string {
	var spelled []string
	for _, name := range names {
		spelled = append(spelled, name, withPort(name, port), strings.ToUpper(name), name+".", withPort(name+".", port))
	}
	return spelled
}

// withPort returns name:port.
func withPort(name string, port uint16) string { return name + ":" + strconv.Itoa(int(port)) }

// byName follows each name of a host to the address that DNS gives for it, where that is none of the host's.
func (p *prober) byName(host Host, own []netip.Addr, ports []uint16) iter.Seq[asked] {
	return func(yield func(asked) bool) {
		cluster := func(name string) []netip.Addr {
			if name == host.FQDN {
				return own
			}
			return nil
		}
		for _, name := range append(p.names(host.FQDN), host.FQDN+".") {
			for _, address := range p.resolver.Lookup(name, cluster).Addresses {
				if slices.Contains(own, address) {
					continue
				}
				for _, port := range ports {
					for probe := range p.to(host.FQDN, netip.AddrPortFrom(address, port)) {
						if !yield(asked{probe, name}) {
							return
						}
					}
				}
			}
		}
	}
}

// throughGateway returns the requests and the TLS connections for a host that can come to a gateway's listeners.
func (p *prober) throughGateway(host Host) iter.Seq[asked] {
	return func(yield func(asked) bool) {
		names := p.names(host.FQDN)
		snis := slices.Clone(names)
		for _, address := range p.addresses(host) {
			names = append(names, address.String())
		}
		if of := p.facts[host.FQDN]; of != nil {
			snis = append(snis, of.snis...)
		}
		for _, port := range p.portsOf(host) {
			snis = append(snis, fmt.Sprintf("outbound_.%d_._.%s", port, host.FQDN))
		}
		slices.Sort(snis)
		for _, port := range p.ports {
			address := netip.AddrPortFrom(netip.IPv4Unspecified(), port)
			for _, name := range spelled(names, port) {
				if !yield(asked{Probe: Probe{Address: address, Protocol: HTTP, Host: name}}) {
					return
				}
			}
			for _, sni := range slices.Compact(snis) {
				if !yield(asked{Probe: Probe{Address: address, Protocol: TLS, SNI: sni}}) {
					return
				}
			}
		}
	}
}

// facts are what a snapshot tells about hosts to verify, by FQDN.
type facts map[string]*fact

type fact struct {
	// names are those of the name table for the host and its Pods, sorted; addresses are theirs.
	names     []string
	addresses []netip.Addr
	ports     []uint16
	// snis are the names outbound_.port_.subset_.host by which an east-west gateway knows its subsets.
	snis []string
	// clusters are Envoy's of the host and of its other names, sorted.
	clusters []string
	// headless says that the addresses are those of Pods.
	headless bool
}

func (f facts) of(host string) *fact {
	if f[host] == nil {
		f[host] = &fact{}
	}
	return f[host]
}

// gather reads clusters and the name table once for all hosts.
func gather(s *Snapshot, hosts fenced) facts {
	f := facts{}
	for _, name := range slices.Sorted(maps.Keys(s.Clusters)) {
		host, ok := hosts.of(name)
		if !ok {
			continue
		}
		of := f.of(host)
		of.clusters = append(of.clusters, name)
		parts := strings.Split(name, "|")
		if len(parts) != 4 || parts[0] != "outbound" {
			continue
		}
		of.headless = of.headless || s.Clusters[name].GetType() == clusterv3.Cluster_ORIGINAL_DST
		if port, err := strconv.ParseUint(parts[1], 10, 16); err == nil {
			of.ports = append(of.ports, uint16(port))
			of.snis = append(of.snis, fmt.Sprintf("outbound_.%d_.%s_.%s", port, parts[2], parts[3]))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Names)) {
		_, above, _ := strings.Cut(name, ".")
		for _, of := range []string{name, above} {
			host, ok := hosts[of]
			if !ok {
				continue
			}
			f.of(host).names = append(f.of(host).names, name)
			f.of(host).addresses = append(f.of(host).addresses, parseAddresses(s.Names[name])...)
		}
	}
	return f
}

// Learn returns the hosts with the addresses and ports that this client is told, where they have none: for clients that
// are told nothing.
func (s *Snapshot) Learn(hosts []Host) []Host {
	facts := gather(s, newFenced(hosts))
	learned := make([]Host, len(hosts))
	for i, host := range hosts {
		if of := facts[host.FQDN]; of != nil {
			if len(host.Ports) == 0 {
				host.Ports = of.ports
			}
			switch {
			case len(host.Addresses)+len(host.Pods) > 0:
			case of.headless:
				host.Pods = of.addresses
			default:
				host.Addresses = of.addresses
			}
		}
		learned[i] = host
	}
	return learned
}

// union returns what either list has, sorted.
func union[T comparable](a, b []T, compare func(T, T) int) []T {
	all := slices.Concat(a, b)
	slices.SortFunc(all, compare)
	return slices.Compact(all)
}
