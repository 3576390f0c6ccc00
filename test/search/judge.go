package search

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
	"github.com/meshfence/meshfence/xds"
)

// Leak is a connection to a strict host that ends elsewhere.
type Leak struct {
	Host   string
	Client string
	// Asked is what the client does, in words.
	Asked string
	// Outcome is what becomes of it.
	Outcome xds.Outcome
	// Soft reports whether the traffic is not of the protocol that the name of the port promises: a warning is enough.
	Soft bool
}

// Key tells leaks apart.
func (l Leak) Key() string { return l.Host + " " + l.Client + " " + l.Asked }

// String describes a leak in a line.
func (l Leak) String() string {
	o := l.Outcome
	ends := make([]string, len(o.Endpoints))
	for i, e := range o.Endpoints {
		ends[i] = e.String()
	}
	soft := ""
	if l.Soft {
		soft = " (not of the port's protocol)"
	}
	return fmt.Sprintf("%s: %s %s%s: listener %s, chain %s, route %s, cluster %s: %s %s %s",
		l.Client, l.Host, l.Asked, soft, o.Listener, o.FilterChain, o.Route, o.Cluster, o.Verdict, o.Reason, strings.Join(ends, ", "))
}

// shape says how a leak leaves, without names of the world.
func (l Leak) shape() string {
	kind := strings.Fields(l.Asked)[0]
	client, _, _ := strings.Cut(l.Client, " of ")
	return fmt.Sprintf("%s %s %s soft=%t", client, kind, l.Outcome.Via, l.Soft)
}

// clients are the proxies of a cluster that are asked for. Those of one namespace have no network, which is how a
// mesh of one network is set up; the others have.
func (b Base) clients(cluster string) []xds.Proxy {
	var clients []xds.Proxy
	for _, namespace := range b.Namespaces {
		of := ownNetwork
		if namespace == b.Namespaces[0] {
			of = ""
		}
		clients = append(clients, xds.Proxy{Kind: xds.Sidecar, Cluster: cluster, Namespace: namespace, Network: of, Labels: map[string]string{"app": "client"}, DNSCapture: true})
	}
	clients = append(clients, xds.Proxy{Kind: xds.Sidecar, Cluster: cluster, Namespace: "web", Network: ownNetwork, Labels: map[string]string{"app": "client"}})
	for _, name := range gateways() {
		clients = append(clients, xds.Proxy{Kind: xds.Gateway, Cluster: cluster, Namespace: rootNamespace, Labels: map[string]string{"istio": name}})
	}
	return clients
}

// gateways are the labels of gateways in the root namespace.
func gateways() []string { return []string{"ingressgateway", "eastwestgateway"} }

func clientName(p xds.Proxy) string {
	capture := ""
	if p.DNSCapture {
		capture = " with DNS capture"
	}
	elsewhere := ""
	if p.Cluster != near {
		elsewhere = " in " + p.Cluster
	}
	return fmt.Sprintf("%s%s of %s%s", p.Kind, elsewhere, p.Namespace, capture)
}

// target is a strict Service as clients ask for it.
type target struct {
	fqdn      string
	name      string
	namespace string
	addresses []netip.Addr
	headless  bool
	// gone reports whether the cluster has it no more.
	gone  bool
	ports []corev1.ServicePort
}

// takenPod reports whether what a client asks a Pod of a headless target for is taken by its address or a name of it, of which a
// warning is enough (rows D18 and I10).
func (t target) takenPod(asked string, o xds.Outcome) bool {
	ofNetwork := o.Route == "" && strings.HasPrefix(o.Listener, netip.IPv4Unspecified().String()+"_")
	return t.headless && slices.ContainsFunc(t.addresses, func(a netip.Addr) bool {
		return ofNetwork || strings.HasPrefix(o.Listener, a.String()+"_") || strings.Contains(asked, " as "+a.String()) || strings.Contains(asked, " as "+podName+t.fqdn)
	})
}

// podName is how the name of a Pod of a headless target begins, before that of the target.
const podName = "pod-0."

// targets are the strict Services of the cluster.
func (p *product) targets() []target {
	var targets []target
	for _, fqdn := range p.strict() {
		host, ok := hostname.Parse(fqdn, domain)
		if !ok {
			continue
		}
		var service corev1.Service
		if p.stored[object.Key{Kind: object.KindService, Namespace: host.Namespace, Name: host.Name}].into(&service) != nil {
			continue
		}
		t := target{fqdn: fqdn, name: host.Name, namespace: host.Namespace, ports: service.Spec.Ports}
		for _, ip := range service.Spec.ClusterIPs {
			if a, err := netip.ParseAddr(ip); err == nil {
				t.addresses = append(t.addresses, a)
			}
		}
		if len(t.addresses) == 0 {
			t.headless = true
			t.addresses = p.podAddresses(host)
		}
		targets = append(targets, t)
	}
	return append(targets, p.elsewhere()...)
}

// elsewhere are the Services that were strict when they were deleted, and that only the other cluster has now. Clients know them by name. That somebody deletes one is worth a warning (row E17).
func (p *product) elsewhere() []target {
	var targets []target
	for _, s := range p.base.Services {
		host := hostname.Host{Namespace: s.Namespace, Name: s.Name}
		if !p.gone[host] {
			continue
		}
		t := target{fqdn: s.FQDN(), name: s.Name, namespace: s.Namespace, headless: s.Headless, gone: true}
		for _, port := range s.Ports {
			t.ports = append(t.ports, corev1.ServicePort{Name: port.Name, Port: int32(port.Number)})
		}
		targets = append(targets, t)
	}
	return targets
}

// podAddresses are those of the cluster's Pods of a headless Service that nobody has deleted.
func (p *product) podAddresses(host hostname.Host) []netip.Addr {
	for n, s := range p.base.Services {
		_, exists := p.stored[object.Key{Kind: object.KindPod, Namespace: s.Namespace, Name: s.Name}]
		if exists && s.Namespace == host.Namespace && s.Name == host.Name {
			return []netip.Addr{netip.MustParseAddr(podIP(p.home, n))}
		}
	}
	return nil
}

// services are the addresses of the cluster's Services, by host.
func (p *product) services() (addresses map[netip.Addr]bool, byHost map[string][]netip.Addr) {
	addresses, byHost = map[netip.Addr]bool{}, map[string][]netip.Addr{}
	for n := range p.base.Services { // the addresses of the other cluster's Services end nowhere here
		if a, err := netip.ParseAddr(p.base.serviceIP(other(p.home), n)); err == nil {
			addresses[a] = true
		}
	}
	for _, k := range p.keys(object.KindService) {
		host := hostname.Host{Namespace: k.Namespace, Name: k.Name}
		ips := texts(p.stored[k].spec()["clusterIPs"])
		for _, ip := range ips {
			if a, err := netip.ParseAddr(ip); err == nil {
				addresses[a] = true
				byHost[host.FQDN(domain)] = append(byHost[host.FQDN(domain)], a)
			} else {
				byHost[host.FQDN(domain)] = p.podAddresses(host)
			}
		}
	}
	return addresses, byHost
}

// judgeClient returns the connections to strict hosts that end elsewhere, for one client, and the hops that others take.
func (p *product) judgeClient(s *xds.Snapshot) ([]Leak, map[hop]bool) {
	addressesOf, byHost := p.services()
	j := judgement{
		snapshot: s, client: clientName(s.Proxy), byHost: byHost,
		resolver: xds.NewResolver(s, xds.Rules{Addresses: addresses(), Services: addressesOf}), hops: map[hop]bool{}, gone: map[string]bool{},
	}
	for host, strict := range p.gone {
		j.gone[host.FQDN(domain)] = strict
	}
	for _, t := range p.targets() {
		if s.Proxy.Kind == xds.Gateway {
			j.gateway(t)
			continue
		}
		j.sidecar(t)
	}
	return j.leaks, j.hops
}

type judgement struct {
	snapshot *xds.Snapshot
	resolver *xds.Resolver
	client   string
	byHost   map[string][]netip.Addr
	leaks    []Leak
	hops     map[hop]bool
	// gone are the hosts whose Services were strict when they were deleted: that routes lead there is worth a warning
	// (row C16).
	gone map[string]bool
}

func (j *judgement) probe(t target, asked string, soft bool, p xds.Probe) {
	j.follow(t, asked, soft, j.resolver.Resolve(p))
}

// follow judges what becomes of a connection.
func (j *judgement) follow(t target, asked string, soft bool, outcomes []xds.Outcome) {
	for _, o := range outcomes {
		if o.Verdict == xds.Leaves || o.Verdict == xds.Unclear {
			h, hops := hopOf(t.fqdn, o)
			soft = soft || t.gone || passedOn(o.Path) || hops && j.gone[h.by] || t.takenPod(asked, o)
			j.leaks = append(j.leaks, Leak{Host: t.fqdn, Client: j.client, Asked: asked, Outcome: o, Soft: soft})
			return
		}
		if h, ok := hopOf(t.fqdn, o); ok && j.hops != nil {
			j.hops[h] = true
		}
	}
}

// sidecar asks for every address and port by every protocol and spelling, and for every name.
func (j *judgement) sidecar(t target) {
	for _, port := range t.ports {
		for _, a := range t.addresses {
			j.address(t, port, netip.AddrPortFrom(a, uint16(port.Port)), "", j.spellings(t, int(port.Port)))
		}
		for _, name := range []string{t.name, t.name + "." + t.namespace, t.name + "." + t.namespace + ".svc", t.fqdn} {
			if name == t.name && j.snapshot.Proxy.Namespace != t.namespace {
				continue // a bare name is that of the client's own namespace
			}
			answer := j.resolver.Lookup(name, func(fqdn string) []netip.Addr { return j.byHost[fqdn] })
			for _, a := range answer.Addresses {
				if t.headless && answer.Mesh {
					continue // the Pods of all clusters: row E4
				}
				if !slices.Contains(t.addresses, a) {
					j.address(t, port, netip.AddrPortFrom(a, uint16(port.Port)), "name "+name, []string{name, fmt.Sprintf("%s:%d", name, port.Port)})
				}
			}
		}
	}
}

// address asks for one address by every protocol.
func (j *judgement) address(t target, port corev1.ServicePort, to netip.AddrPort, by string, hosts []string) {
	speaks := speaks(port)
	asked := func(how string) string { return strings.TrimSpace(fmt.Sprintf("%s to %s %s", how, portName(port), by)) }
	j.probe(t, asked("tcp"), speaks != anyProtocol && speaks != tcpProtocol, xds.Probe{Address: to, Protocol: xds.TCP})
	for _, host := range hosts {
		soft := speaks != anyProtocol && speaks != httpProtocol && speaks != tcpProtocol
		j.probe(t, asked("http")+" as "+host, soft, xds.Probe{Address: to, Protocol: xds.HTTP, Host: host})
	}
	j.probe(t, asked("http2"), speaks == tlsProtocol, xds.Probe{Address: to, Protocol: xds.HTTP2, Host: hosts[len(hosts)-1]})
	soft := speaks == httpProtocol
	nameless := j.resolver.Resolve(xds.Probe{Address: to, Protocol: xds.TLS})
	j.follow(t, asked("tls"), soft || slices.ContainsFunc(nameless, leftOver), nameless)
	names := []string{t.fqdn, t.name + "." + t.namespace, t.name + "." + t.namespace + ".svc"}
	if j.snapshot.Proxy.Namespace == t.namespace {
		names = append(names, t.name)
	}
	for _, host := range names {
		outcomes := j.resolver.Resolve(xds.Probe{Address: to, Protocol: xds.TLS, SNI: host})
		j.follow(t, asked("tls")+" for "+host, soft || host != t.fqdn && slices.ContainsFunc(outcomes, leftOver), outcomes)
	}
}

// leftOver reports whether a connection goes where a listener sends what none of its filter chains takes. That an egress
// proxy takes TLS there without a server name, or for a short one, because a VirtualService routes by others, is worth a
// warning (row I7).
func leftOver(o xds.Outcome) bool { return o.FilterChain == "default" }

func portName(p corev1.ServicePort) string { return fmt.Sprintf("port %q", p.Name) }

// spellings are the names by which a client asks for a host in a request; a bare one is that of its own namespace.
func (j *judgement) spellings(t target, port int) []string {
	names := []string{t.name + "." + t.namespace, t.name + "." + t.namespace + ".svc", t.fqdn}
	if j.snapshot.Proxy.Namespace == t.namespace {
		names = append(names, t.name)
	}
	for _, a := range t.addresses {
		names = append(names, a.String())
	}
	if t.headless {
		names = append(names, podName+t.fqdn)
	}
	var all []string
	for _, n := range names {
		all = append(all, n, fmt.Sprintf("%s:%d", n, port))
	}
	return append(all, strings.ToUpper(t.fqdn), t.fqdn+".")
}

type protocol int

const (
	anyProtocol protocol = iota
	tcpProtocol
	httpProtocol
	tlsProtocol
)

// speaks returns what Istio takes the bytes on a port for.
func speaks(p corev1.ServicePort) protocol {
	name := p.Name
	if p.AppProtocol != nil {
		name = *p.AppProtocol
	}
	prefix, _, _ := strings.Cut(strings.ToLower(name), "-")
	switch prefix {
	case "http", "http2", "grpc":
		return httpProtocol
	case "https", "tls":
		return tlsProtocol
	case "tcp", "mysql", "mongo", "redis":
		return tcpProtocol
	}
	return anyProtocol
}

// gateway asks the listeners of a gateway for what leads to a host by its clusters: every cluster of the host that
// something uses, and the SNI by which an east-west gateway finds it, where the gateway goes by that.
func (j *judgement) gateway(t target) {
	report := xds.Verify(j.snapshot, []xds.Host{{FQDN: t.fqdn, Fence: policy.Strict}}, xds.Rules{Addresses: addresses()})[0]
	for _, l := range report.Leaks {
		if l.Route == "" && l.Listener == "" {
			continue // nothing leads there
		}
		j.leaks = append(j.leaks, Leak{Host: t.fqdn, Client: j.client, Asked: "route", Soft: t.gone || passedOn(l.Path) || short(l.Route), Outcome: xds.Outcome{Path: l.Path, Verdict: xds.Leaves, Endpoints: l.Endpoints, Reason: l.Reason}})
	}
	for _, listener := range j.snapshot.Listeners {
		at := listener.GetAddress().GetSocketAddress()
		ip, err := netip.ParseAddr(at.GetAddress())
		if err != nil {
			continue
		}
		for _, port := range t.ports {
			sni := fmt.Sprintf("outbound_.%d_._.%s", port.Port, t.fqdn)
			p := xds.Probe{Address: netip.AddrPortFrom(ip, uint16(at.GetPortValue())), Protocol: xds.TLS, SNI: sni, ALPN: []string{"istio"}}
			j.follow(t, "sni "+sni, false, slices.DeleteFunc(j.resolver.Resolve(p), p.Anybodys))
		}
	}
}

// short reports whether a route, as verify names it, is that of a wildcard over short names: at a gateway it is worth a warning
// (row C3).
func short(route string) bool {
	_, domain, _ := strings.Cut(route, "/")
	domain, _, _ = strings.Cut(domain, ":")
	_, ok := hostname.ShortWildcard(domain)
	return ok
}

// passedOn reports whether a gateway passes a connection on by its SNI: that is for the fences of the clusters that it
// comes from, and a warning says so (rows H1 and H2).
func passedOn(p xds.Path) bool { return strings.HasPrefix(p.Cluster, "outbound_.") }
