package leak

import (
	"slices"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// sections are some of the lists of routes of a VirtualService.
type sections uint8

const (
	sectionHTTP sections = 1 << iota
	sectionTLS
	sectionTCP

	sectionsAll = sectionHTTP | sectionTLS | sectionTCP
)

// sectionOf returns that of the route that a path leads into.
func sectionOf(path object.Path) sections {
	switch path[1] {
	case "tls":
		return sectionTLS
	case "tcp":
		return sectionTCP
	}
	return sectionHTTP
}

// sectionsBy returns those by whose routes a VirtualService takes over a strict host that one of its hosts stands for.
// In a sidecar those of http make virtual hosts for the ports of HTTP of Services alone
// (buildSidecarVirtualHostsForVirtualService in Istio's pilot/pkg/networking/core/route), and the others go by the full
// names of Services (getConfigsForHost in pilot/pkg/networking/core/tls.go). The servers of a gateway know nothing of
// these ports, and those of TLS and TCP nothing of a wildcard among the hosts: they go by server names. Whoever changes those of a Service comes second.
//
// silent reports whether no host of the VirtualService has such a virtual host.
func sectionsBy(name string, host policy.FencedHost, o *object.Object, view *policy.View, silent func() bool) sections {
	_, wildcard := hostname.Wildcard(name)
	_, address := hostname.Address(name)
	service, inside := hostname.Parse(host.Host, view.Config().ClusterDomain)
	switch {
	case !o.VirtualService.InMeshAlone() && address, !o.VirtualService.InMesh() && wildcard:
		return sectionHTTP
	case wildcard || !inside || !o.VirtualService.InMeshAlone():
		return sectionsAll
	}
	var by sections
	if !otherName(name, host, o, view) {
		by = sectionTLS | sectionTCP
	}
	if view.SpeaksOn(service, anyHostPort) != (policy.Speech{}) || !silent() {
		by |= sectionHTTP
	}
	return by
}

// anyHostPort is the port on which a sidecar has the routes of a VirtualService for hosts that are no Service's, or of one
// that it does not know (BuildSidecarOutboundVirtualHosts in Istio's pilot/pkg/networking/core/httproute.go). On others it
// has them beside those for a Service with such a port of HTTP among the hosts of the VirtualService.
const anyHostPort = 80

// otherName reports whether a host of an object is a name or an address of a Service that is not its full name, so that
// Istio finds no Service by it.
func otherName(name string, host policy.FencedHost, o *object.Object, view *policy.View) bool {
	full := hostname.Resolve(hostname.Canonical(name), o.Metadata.Namespace, view.Config().ClusterDomain)
	return full != host.Host
}

// makesNoHost reports whether Istio finds no Service with a port of HTTP by any host of a VirtualService: they are full
// names of strict Services without one, and other names of strict Services. That no ServiceEntry has one of these is
// for other rules.
func makesNoHost(o *object.Object, view *policy.View) bool {
	return !slices.ContainsFunc(o.VirtualService.Hosts, func(name string) bool {
		_, wildcard := hostname.Wildcard(name)
		host, strict := claimed(name, o.Metadata.Namespace, view)
		if wildcard || !strict {
			return true
		}
		service, inside := hostname.Parse(host.Host, view.Config().ClusterDomain)
		return !otherName(name, host, o, view) && (!inside || view.Speaks(service).HTTP)
	})
}

// bySection returns the hosts that routes of a section take over.
func bySection(taken []takenHost, section sections) []takenHost {
	without := func(host takenHost) bool { return host.sections&section == 0 }
	if !slices.ContainsFunc(taken, without) {
		return taken
	}
	return slices.DeleteFunc(slices.Clone(taken), without)
}

// takeovers are the strict hosts that a VirtualService takes over, by the sections whose routes do.
type takeovers struct {
	taken []takenHost
	// alike reports whether the routes of every section take over the same hosts.
	alike bool
	known map[sections]*takeover
}

func newTakeovers(taken []takenHost) *takeovers {
	others := func(host takenHost) bool { return host.sections != sectionsAll }
	return &takeovers{taken, !slices.ContainsFunc(taken, others), map[sections]*takeover{}}
}

// by returns what the route that a path leads into takes over; nil where that is nothing.
func (t *takeovers) by(path object.Path) *takeover {
	section := sectionOf(path)
	if t.alike {
		section = sectionsAll
	}
	found, known := t.known[section]
	if !known {
		if hosts := bySection(t.taken, section); len(hosts) > 0 {
			found = newTakeover(fencedHosts(hosts))
		}
		t.known[section] = found
	}
	return found
}
