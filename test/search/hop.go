package search

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
	"github.com/meshfence/meshfence/xds"
)

// hop is another strict host that a client's requests for a strict host go to.
type hop struct {
	// of is the host that the client asks for.
	of string
	// by is the host whose Pods get the requests, at a port.
	by   string
	port int
}

// hopOf returns the hop that a connection for a host takes, if it does.
func hopOf(fqdn string, o xds.Outcome) (hop, bool) {
	parts := strings.Split(o.Cluster, "|")
	if len(parts) != 4 || parts[3] == fqdn || parts[0] != "outbound" {
		return hop{}, false
	}
	port, err := strconv.Atoi(parts[1])
	return hop{of: fqdn, by: parts[3], port: port}, err == nil
}

// beyond asks what the Pods of a hop do with the requests, where a Gateway makes a gateway of them: nothing of Istio's
// does otherwise.
func (p *product) beyond(h hop, snapshot func(xds.Proxy) *xds.Snapshot) []Leak {
	namespace, labels := p.workload(h.by)
	if labels == nil || !p.gatewaySelects(labels) {
		return nil
	}
	s := snapshot(xds.Proxy{Kind: xds.Gateway, Cluster: p.home, Namespace: namespace, Labels: labels})
	addressesOf, _ := p.services()
	j := judgement{snapshot: s, client: clientName(s.Proxy), resolver: xds.NewResolver(s, xds.Rules{Addresses: addresses(), Services: addressesOf})}
	for _, l := range s.Listeners {
		at := l.GetAddress().GetSocketAddress()
		ip, err := netip.ParseAddr(at.GetAddress())
		if err != nil || int(at.GetPortValue()) != h.port {
			continue
		}
		j.probe(target{fqdn: h.of}, "http through "+h.by, false, xds.Probe{Address: netip.AddrPortFrom(ip, uint16(h.port)), Protocol: xds.HTTP, Host: h.of})
	}
	return j.leaks
}

// workload returns the labels of the Pods of a Service, which are those of a Pod that its selector chooses; nil where
// there are none.
func (p *product) workload(fqdn string) (namespace string, labels map[string]string) {
	host, ok := hostname.Parse(fqdn, domain)
	if !ok {
		return "", nil
	}
	selector, _ := p.stored[object.Key{Kind: object.KindService, Namespace: host.Namespace, Name: host.Name}].spec()["selector"].(map[string]any)
	for _, k := range p.keys(object.KindPod) {
		labels := p.stored[k].strings("labels")
		if k.Namespace == host.Namespace && len(selector) > 0 && chooses(selector, labels) {
			return host.Namespace, labels
		}
	}
	return "", nil
}

func (p *product) gatewaySelects(labels map[string]string) bool {
	return slices.ContainsFunc(p.keys(object.KindGateway), func(k object.Key) bool {
		selector, _ := p.stored[k].spec()["selector"].(map[string]any)
		return chooses(selector, labels)
	})
}

// chooses reports whether labels have all that a selector asks for.
func chooses(selector map[string]any, labels map[string]string) bool {
	for key, value := range selector {
		if labels[key] != text(value) {
			return false
		}
	}
	return true
}
