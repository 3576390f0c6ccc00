package leak

import (
	"slices"
	"strings"
	"sync"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// takenHost is a strict host whose traffic a VirtualService takes over.
type takenHost struct {
	policy.FencedHost
	// wildcard is what stands for the host and others in the VirtualService; empty where it has a name of its own
	// there.
	wildcard string
	// sections are those whose routes take it over.
	sections sections
}

// takenOver lists the strict hosts whose traffic a VirtualService takes over, each once; of those that a wildcard
// or network covers only the tightest, which stands for the others. One that is bound to gateways only routes what
// arrives there, so that a wildcard in it takes over nothing, unless it is for names inside the cluster domain: of
// Services, which are asked for there as they are by their own names, or of TLS between clusters.
func takenOver(o *object.Object, view *policy.View) []takenHost {
	var taken []takenHost
	at := map[[2]string]int{}
	add := func(host policy.FencedHost, wildcard string, by sections) {
		place := [2]string{host.Host, wildcard}
		i, known := at[place]
		switch {
		case known:
			taken[i].sections |= by
		case by != 0:
			if taken == nil {
				taken = make([]takenHost, 0, len(o.VirtualService.Hosts))
			}
			at[place] = len(taken)
			taken = append(taken, takenHost{host, wildcard, by})
		}
	}
	mesh := o.VirtualService.InMesh()
	silent := sync.OnceValue(func() bool { return makesNoHost(o, view) })
	for _, name := range o.VirtualService.Hosts {
		takeName(name, o, view, mesh || insideDomain(name, view), func(host policy.FencedHost, wildcard string) {
			add(host, wildcard, sectionsBy(name, host, o, view, silent))
		})
	}
	addTLS := func(host policy.FencedHost, wildcard string) { add(host, wildcard, sectionTLS) }
	for _, name := range o.VirtualService.ServerNames() {
		takeName(name, o, view, mesh || insideDomain(name, view), addTLS)
	}
	for _, name := range o.VirtualService.Crossed() {
		takeName(name, o, view, false, addTLS)
	}
	if !mesh {
		return taken
	}
	for _, subnet := range o.VirtualService.Subnets() {
		network, ok := object.Network(subnet.Network)
		if !ok {
			continue
		}
		ports := policy.Ports{HTTP: true} // on others the Service has a listener of its own
		if subnet.Port != 0 {
			ports.Numbers = []int64{subnet.Port}
		}
		if host, strict := view.StrictAddress(network, ports); strict {
			add(host, subnet.Network, sectionTLS|sectionTCP)
		}
	}
	return taken
}

// takeName adds what a VirtualService takes over by one of its names; wildcards reports whether one that is a wildcard
// counts.
func takeName(name string, o *object.Object, view *policy.View, wildcards bool, add func(host policy.FencedHost, wildcard string)) {
	if host, ok := hostname.ServerName(name); ok {
		name = host
	}
	wildcard := ""
	if _, ok := hostname.Wildcard(name); ok {
		wildcard = name
	}
	if wildcard != "" && !wildcards {
		return
	}
	if host, strict := claimed(name, o.Metadata.Namespace, view); strict {
		add(host, wildcard)
	}
}

// insideDomain reports whether a wildcard is for names of the cluster domain, and not for any.
func insideDomain(name string, view *policy.View) bool {
	suffix, wildcard := hostname.Wildcard(strings.ToLower(name))
	domain := ".svc." + view.Config().ClusterDomain
	return wildcard && suffix != "" && (strings.HasSuffix(suffix, domain) || strings.HasSuffix(domain, suffix))
}

// together returns the tightest of the hosts that are taken over, which stands for all of them.
func together(taken []takenHost) policy.FencedHost { return policy.Together(fencedHosts(taken)...) }

func fencedHosts(taken []takenHost) []policy.FencedHost {
	hosts := make([]policy.FencedHost, len(taken))
	for i, host := range taken {
		hosts[i] = host.FencedHost
	}
	return hosts
}

// takeover is the strict hosts whose requests a VirtualService takes over.
type takeover struct {
	hosts []policy.FencedHost
	// whole stands for all of them.
	whole policy.FencedHost
	// own has their names, once something asks for one.
	own map[string]bool
	// without stands for the others, by the one that is left out.
	without map[string]policy.FencedHost
}

func newTakeover(hosts []policy.FencedHost) *takeover {
	return &takeover{hosts: hosts, whole: policy.Together(hosts...), without: map[string]policy.FencedHost{}}
}

// but returns what stands for the hosts that are not the one given; ok is false where there are none.
func (t *takeover) but(fqdn string) (whole policy.FencedHost, ok bool) {
	if t.own == nil {
		t.own = make(map[string]bool, len(t.hosts))
		for _, host := range t.hosts {
			t.own[host.Host] = true
		}
	}
	switch {
	case len(t.own) == 0 || len(t.own) == 1 && t.own[fqdn]:
		return policy.FencedHost{}, false
	case !t.own[fqdn]:
		return t.whole, true
	case !slices.Contains(t.whole.Hosts(), fqdn):
		whole = t.whole
		whole.More = max(whole.More-1, 0)
		return whole, true
	}
	whole, known := t.without[fqdn]
	if !known {
		others := slices.DeleteFunc(slices.Clone(t.hosts), func(host policy.FencedHost) bool { return host.Host == fqdn })
		whole = policy.Together(others...)
		t.without[fqdn] = whole
	}
	return whole, true
}

// hasOthers reports whether a VirtualService that is for sidecars and for gateways has a host that is no strict one.
func hasOthers(o *object.Object, view *policy.View) bool {
	if !o.VirtualService.InMesh() || o.VirtualService.InMeshAlone() {
		return false
	}
	return slices.ContainsFunc(o.VirtualService.Hosts, func(name string) bool {
		other := true
		takeName(name, o, view, true, func(policy.FencedHost, string) { other = false })
		return other
	})
}

// byWildcard tells the hosts that have a name of their own from those that wildcards cover: one that comes later is
// among the second.
func byWildcard(taken []takenHost) (named, covered []takenHost) {
	if !slices.ContainsFunc(taken, func(host takenHost) bool { return host.wildcard != "" }) {
		return taken, nil
	}
	for _, host := range taken {
		if host.wildcard == "" {
			named = append(named, host)
		} else {
			covered = append(covered, host)
		}
	}
	return named, covered
}
