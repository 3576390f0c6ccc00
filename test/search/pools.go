package search

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// pools are the values that stand in fields: they have to do with the world.
type pools struct {
	r    *rand.Rand
	base Base
	// focus is the Service that most values of one world have to do with, and client the namespace of most objects: what
	// istiod relates to each other is about the same host and the same client.
	focus  int
	client string
	// hosts are those that objects of this world have made.
	hosts []string
	// subsets are those that rules have made, gateways the names of Gateways with their namespaces.
	subsets, gateways []string
}

func newPools(r *rand.Rand, b Base) pools {
	p := pools{r: r, base: b, client: pick(r, b.Namespaces), subsets: []string{"v1", "v2", "near", "far"}}
	if chance(r, 0.4) {
		p.focus = r.IntN(len(b.Services))
	}
	return p
}

// learn takes up what other objects may name.
func (p *pools) learn(o Object) {
	if o.Kind() == object.KindService {
		p.hosts = append(p.hosts, hostname.Host{Namespace: o.Namespace(), Name: o.Name()}.FQDN(domain))
	}
	if o.Kind() == object.KindServiceEntry {
		p.hosts = append(p.hosts, texts(o.spec()["hosts"])...)
	}
	if o.Kind() == object.KindGateway {
		p.gateways = append(p.gateways, o.Namespace()+"/"+o.Name())
	}
	subsets, _ := o.spec()["subsets"].([]any)
	for _, s := range subsets {
		if of, ok := s.(map[string]any); ok {
			p.subsets = append(p.subsets, text(of["name"]))
		}
	}
}

func (p *pools) namespace() string {
	if chance(p.r, 0.06) {
		return rootNamespace
	}
	if chance(p.r, 0.4) {
		return p.client
	}
	return pick(p.r, p.base.Namespaces)
}

// name returns a name for an object: now and then one that something else has.
func (p *pools) name(kind string) string {
	taken := kind == object.KindDestinationRule || kind == object.KindVirtualService
	if taken && chance(p.r, 0.06) {
		return pick(p.r, p.base.Services).Name + "-meshfence"
	}
	return pick(p.r, []string{"default", "a", "b", "c"})
}

func (p *pools) service() (n int, s Service) {
	n = p.focus
	if chance(p.r, 0.4) {
		n = p.r.IntN(len(p.base.Services))
	}
	return n, p.base.Services[n]
}

// spelling returns a name of a Service in some spelling: cut behind a label, with a wildcard for the first labels, or
// with one more domain of a search list.
func (p *pools) spelling() string {
	_, s := p.service()
	labels := strings.Split(s.FQDN(), ".")
	cut := pick(p.r, []int{1, 2, 2, 3, 5, 5, 5, 5})
	from := 0
	if chance(p.r, 0.3) {
		from = p.r.IntN(cut)
	}
	name := strings.Join(labels[from:cut], ".")
	if from > 0 {
		name = "*." + name
	}
	if cut > 1 && chance(p.r, 0.08) {
		name += "." + pick(p.r, []string{p.namespace() + ".svc." + domain, "svc." + domain, domain})
	}
	return name
}

// host returns a name for a field of hosts.
func (p *pools) host() string {
	switch x := p.r.Float64(); {
	case x < 0.45:
		return p.spelling()
	case x < 0.6 && len(p.hosts) > 0:
		return pick(p.r, p.hosts)
	case x < 0.82:
		return pick(p.r, []string{"db.example.com", "www.example.com", "*.example.com"})
	case x < 0.94:
		return p.address()
	}
	return pick(p.r, []string{"*", "*.local", "localhost"})
}

// sni returns the name of a cluster as istiod writes it where a gateway tells hosts by SNI: with _ between its parts.
func (p *pools) sni() string {
	_, s := p.service()
	return fmt.Sprintf("outbound_.%d_.%s_.%s", pick(p.r, s.Ports).Number, pick(p.r, []string{"", "", "_", "v1"}), s.FQDN())
}

// routed returns a host of a VirtualService: a client may ask for an address as for a name.
func (p *pools) routed() string {
	switch x := p.r.Float64(); {
	case x < 0.12:
		return p.address()
	case x < 0.25:
		return p.destination()
	}
	return p.host()
}

// destination returns a name for a field that traffic is sent to: mostly of something that exists.
func (p *pools) destination() string {
	if chance(p.r, 0.2) {
		return p.host()
	}
	known := append([]string{}, p.hosts...)
	for _, s := range p.base.Services {
		known = append(known, s.FQDN(), s.FQDN())
	}
	return pick(p.r, known)
}

// address returns one that has to do with the world.
func (p *pools) address() string {
	n, _ := p.service()
	var all []string
	for _, a := range []string{p.base.serviceIP(near, n), p.base.serviceIP(near, n), p.base.serviceIP(near, n), podIP(near, n), podIP(far, n), foreignIP, foreignIP, "240.240.1.1", p.base.serviceIP(far, n)} {
		if a != "" {
			all = append(all, a)
		}
	}
	return pick(p.r, all)
}

// network returns an address or a range.
func (p *pools) network() string {
	return pick(p.r, []string{p.address(), p.address(), p.address() + "/32", "10.96.0.0/24", "10.0.0.0/8", "0.0.0.0/0"})
}

func (p *pools) portNumber() int {
	if chance(p.r, 0.8) {
		_, s := p.service()
		return pick(p.r, s.Ports).Number
	}
	return pick(p.r, []int{80, 443, 15443, 5432, 8080})
}

func (p *pools) number(f protoreflect.FieldDescriptor) int {
	switch name := string(f.Name()); {
	case f.ContainingMessage().Name() == "Port" && chance(p.r, 0.4): // of a Gateway
		return pick(p.r, []int{80, 443, 15443})
	case name == "number" || name == "port" || name == "target_port" || name == "ports":
		return p.portNumber()
	case name == "weight":
		return pick(p.r, []int{0, 1, 50, 100})
	case name == "to":
		return 100
	}
	return p.r.IntN(10)
}

// enum returns the number of a value: of the modes of a Gateway's TLS more often the one that takes no certificate.
func (p *pools) enum(f protoreflect.FieldDescriptor) protoreflect.EnumNumber {
	values := f.Enum().Values()
	if passed := values.ByName("PASSTHROUGH"); f.ContainingMessage().Name() == "ServerTLSSettings" && f.Name() == "mode" && passed != nil && chance(p.r, 0.5) {
		return passed.Number()
	}
	return values.Get(p.r.IntN(values.Len())).Number()
}

func (p *pools) locality() string {
	return pick(p.r, []string{region(near) + "/zone", region(far) + "/zone", region(near) + "/*", region(far) + "/*", region(far), "*"})
}

func (p *pools) visibility() string {
	return pick(p.r, []string{".", ".", "*", "*", "~", p.namespace()})
}

func (p *pools) imported() string {
	namespace := pick(p.r, []string{".", ".", "*", "*", "~", p.namespace(), p.namespace()})
	return namespace + "/" + pick(p.r, []string{"*", "*", "*", p.host(), p.destination()})
}

func (p *pools) protocol() string {
	return pick(p.r, []string{"HTTP", "HTTP", "TCP", "TCP", "TCP", "TLS", "HTTPS", "GRPC", "HTTP2"})
}

// networkLabel tells the network of a Pod, and that a Service is the gateway of one.
const networkLabel = "topology.istio.io/network"

// waypoint returns the labels by which a Service or a Namespace asks for a waypoint.
func (p *pools) waypoint() map[string]any {
	labels := map[string]any{"istio.io/use-waypoint": pick(p.r, []string{"waypoint", "waypoint", "own", "none"})}
	if chance(p.r, 0.3) {
		labels["istio.io/use-waypoint-namespace"] = p.namespace()
	}
	if chance(p.r, 0.3) {
		labels["istio.io/ingress-use-waypoint"] = "true"
	}
	return labels
}

// distribution returns how a Service asks for its traffic to be spread.
func (p *pools) distribution() string {
	return pick(p.r, []string{"PreferClose", "PreferSameZone", "PreferSameNode"})
}

// labelKey returns the key of a label that something of the world reads.
func (p *pools) labelKey() string {
	return pick(p.r, []string{"app", "app", "app", "version", "topology.istio.io/cluster", "istio", networkLabel, networkLabel})
}

func (p *pools) labelValue(key string) string {
	switch key {
	case "app":
		_, s := p.service()
		return pick(p.r, []string{s.Name, s.Name, "client", "vm"})
	case "version":
		return pick(p.r, []string{"v1", "v2"})
	case "topology.istio.io/cluster":
		return pick(p.r, []string{near, far})
	case "istio":
		return pick(p.r, gateways())
	case networkLabel:
		return pick(p.r, []string{"elsewhere", "elsewhere", ownNetwork})
	}
	return "x"
}

// text returns a value for a field, by its name.
func (p *pools) text(f protoreflect.FieldDescriptor) string {
	message, name := string(f.ContainingMessage().Name()), string(f.Name())
	switch message + "." + name {
	case "IstioEgressListener.hosts":
		return p.imported()
	case "Server.hosts":
		return pick(p.r, []string{"*", "*", "*.local", p.host(), p.host(), p.namespace() + "/" + p.host(), "./*"})
	case "Destination.host":
		return p.destination()
	case "VirtualService.hosts":
		return p.routed()
	case "Gateway.selector":
		return pick(p.r, []string{"istio", "istio", "istio", "app"})
	case "Port.protocol": // of a Gateway
		return pick(p.r, []string{"HTTP", "HTTP", "TLS", "TLS", "HTTPS", "TCP"})
	case "Distribute.to", "Distribute.from", "Failover.from", "Failover.to":
		return p.locality()
	case "Subset.name":
		return pick(p.r, p.subsets[:4])
	case "Delegate.name":
		return pick(p.r, []string{"a", "b", "c"})
	case "StringMatch.exact":
		return pick(p.r, []string{"/", p.host()})
	case "StringMatch.prefix":
		return pick(p.r, []string{"/", "/", "/api", "re"})
	case "StringMatch.regex":
		return ".*"
	}
	switch name {
	case "hosts", "host", "sni_hosts", "sni", "target_host", "authority":
		return p.host()
	case "addresses", "destination_subnets", "source_subnets":
		return p.network()
	case "address", "bind", "uri":
		return p.bind(name)
	case "export_to":
		return p.visibility()
	case "gateways":
		return pick(p.r, slices.Concat([]string{"mesh", "mesh", p.namespace() + "/a"}, p.gateways, p.gateways))
	case "namespace", "source_namespace":
		return p.namespace()
	case "protocol":
		return p.protocol()
	case "subset":
		return pick(p.r, append([]string{policy.ReservedSubset}, p.subsets...))
	case "locality":
		return p.locality()
	case "network":
		return pick(p.r, []string{"elsewhere", ownNetwork, ""})
	case "failover_priority":
		return pick(p.r, []string{"topology.istio.io/cluster", "topology.istio.io/cluster=" + far, "topology.kubernetes.io/region"})
	case "labels", "match_labels", "source_labels", "selector":
		return p.labelKey()
	case "ports":
		return "http"
	case "name":
		return pick(p.r, []string{"http", "tcp", "a", "b", "c"})
	}
	return pick(p.r, []string{"a", "b", "x"})
}

func (p *pools) bind(name string) string {
	if name == "address" && chance(p.r, 0.6) {
		return pick(p.r, []string{foreignIP, foreignIP, ownIPOfNoPod})
	}
	if chance(p.r, 0.1) {
		return pick(p.r, []string{"0.0.0.0", "127.0.0.1", p.host()})
	}
	return p.address()
}
