package xds

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/meshfence/meshfence/policy/hostname"
)

// dotsAsIs is the number of dots from which a resolver asks for a name as it is first: Pods have ndots 5.
const dotsAsIs = 5

// Answer is what a client gets for a name.
type Answer struct {
	// Name is the one of those that the search list makes of the client's that was answered first.
	Name string
	// Addresses are in the order of the name table, and none where nobody knows the name.
	Addresses []netip.Addr
	// Mesh reports whether the client's agent has answered from istiod's name table, and not the DNS of the cluster.
	Mesh bool
}

// Lookup returns what a client gets who asks for a name with the search list of its Pod. The DNS of the cluster is
// asked for what the agent does not know; it may be nil.
func (r *Resolver) Lookup(name string, cluster func(fqdn string) []netip.Addr) Answer {
	for _, candidate := range r.candidates(name) {
		if r.snapshot.Proxy.DNSCapture {
			addresses, known := r.nameTable().lookup(candidate)
			if len(addresses) > 0 {
				return Answer{Name: candidate, Addresses: addresses, Mesh: true}
			}
			if known {
				continue // the agent says that there is no such address
			}
		}
		if cluster == nil {
			continue
		}
		if addresses := cluster(candidate); len(addresses) > 0 {
			return Answer{Name: candidate, Addresses: addresses}
		}
	}
	return Answer{}
}

// candidates returns the names that a resolver asks for in turn, without their closing dots.
func (r *Resolver) candidates(name string) []string {
	name = strings.ToLower(name)
	if absolute, ok := strings.CutSuffix(name, "."); ok {
		return []string{absolute}
	}
	searched := []string{}
	for _, domain := range r.search() {
		searched = append(searched, name+"."+domain)
	}
	if strings.Count(name, ".") >= dotsAsIs {
		return append([]string{name}, searched...)
	}
	return append(searched, name)
}

// search is the list that kubelet gives a Pod.
func (r *Resolver) search() []string {
	domain := cmp.Or(r.snapshot.Proxy.Domain, defaultDomain)
	return []string{r.snapshot.Proxy.Namespace + ".svc." + domain, "svc." + domain, domain}
}

// nameTable is what Istio's agent makes of istiod's name table (pkg/dns/client/dns.go).
type nameTable struct {
	addresses map[string][]netip.Addr
	// aliases are the names that the first entry of the search list makes of others, which clients ask for first.
	aliases map[string]string
}

func (r *Resolver) nameTable() *nameTable {
	if r.names != nil {
		return r.names
	}
	table := &nameTable{addresses: map[string][]netip.Addr{}, aliases: map[string]string{}}
	search := r.search()
	for name, texts := range r.snapshot.Names {
		addresses := parseAddresses(texts)
		if len(addresses) == 0 {
			continue
		}
		spellings := r.spellings(strings.ToLower(name))
		for _, known := range spellings {
			table.addresses[known] = addresses
			alias := known + "." + search[0]
			if !strings.HasSuffix(known, search[0]) && !slices.Contains(spellings, alias) {
				table.aliases[alias] = known
			}
		}
	}
	r.names = table
	return table
}

// spellings returns the names by which the agent answers for an entry: for a Service of its own domain the shorter
// ones too.
func (r *Resolver) spellings(name string) []string {
	names := []string{name}
	service, ok := r.snapshot.service(name)
	if !ok || !strings.HasSuffix(name, r.search()[1]) {
		return names
	}
	names = append(names, service.Name+"."+service.Namespace, service.Name+"."+service.Namespace+".svc")
	if service.Namespace == r.snapshot.Proxy.Namespace {
		names = append(names, service.Name)
	}
	return names
}

// service returns the Service that an entry of the name table is of.
func (s *Snapshot) service(name string) (hostname.Host, bool) {
	if s.NamedServices != nil {
		service, ok := s.NamedServices[name]
		return service, ok
	}
	rest, ok := strings.CutSuffix(name, ".svc."+cmp.Or(s.Proxy.Domain, defaultDomain))
	dot := strings.LastIndexByte(rest, '.')
	if !ok || dot < 0 {
		return hostname.Host{}, false
	}
	return hostname.Host{Name: rest[:dot], Namespace: rest[dot+1:]}, true
}

// lookup returns the addresses of a name; known is false where the agent passes the question on.
func (t *nameTable) lookup(name string) (addresses []netip.Addr, known bool) {
	if t.has(name) {
		return t.of(name), true
	}
	for rest := name; ; {
		_, below, more := strings.Cut(rest, ".")
		if !more {
			return nil, false
		}
		if t.has("*." + below) {
			return t.of("*." + below), true
		}
		rest = below
	}
}

func (t *nameTable) has(name string) bool {
	_, alias := t.aliases[name]
	return alias || t.addresses[name] != nil
}

// of prefers what a name is an alias of.
func (t *nameTable) of(name string) []netip.Addr {
	return t.addresses[cmp.Or(t.aliases[name], name)]
}

func parseAddresses(texts []string) []netip.Addr {
	var addresses []netip.Addr
	for _, text := range texts {
		if address, err := netip.ParseAddr(text); err == nil {
			addresses = append(addresses, address)
		}
	}
	return addresses
}
