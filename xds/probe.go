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

// Probes returns every connection that [Verify] follows for a host.
func (s *Snapshot) Probes(host Host) iter.Seq[Probe] {
	hosts := []Host{host}
	prober := newProber(s, Rules{}, gather(s, newFenced(hosts)), hosts)
	return func(yield func(Probe) bool) {
		for probe := range prober.probes(host) {
			if !yield(probe.Probe) {
				return
			}
		}
	}
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
