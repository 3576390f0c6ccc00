package xds

import (
	"slices"
	"strconv"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
)

type routesKey = *routev3.RouteConfiguration

// hostIndex finds the virtual host of a request, as Envoy documents it (VirtualHost.domains): an exact domain, else
// the longest *suffix, else the longest prefix*, else *. A wildcard stands for at least one character, and case does
// not count.
type hostIndex struct {
	exact          map[string]*routev3.VirtualHost
	suffix, prefix wildcards
	all            *routev3.VirtualHost
}

// wildcards are virtual hosts by what a domain has beside its star.
type wildcards struct {
	lengths []int // longest first
	of      map[string]*routev3.VirtualHost
}

func (r *Resolver) hostsOf(config *routev3.RouteConfiguration) *hostIndex {
	if index := r.hosts[config]; index != nil {
		return index
	}
	index := &hostIndex{exact: map[string]*routev3.VirtualHost{}}
	for _, host := range config.GetVirtualHosts() {
		for _, domain := range host.GetDomains() {
			index.add(strings.ToLower(domain), host)
		}
	}
	index.suffix.sort()
	index.prefix.sort()
	r.hosts[config] = index
	return index
}

func (x *hostIndex) add(domain string, host *routev3.VirtualHost) {
	if domain == "*" {
		x.all = host
		return
	}
	if suffix, ok := strings.CutPrefix(domain, "*"); ok {
		x.suffix.add(suffix, host)
		return
	}
	if prefix, ok := strings.CutSuffix(domain, "*"); ok {
		x.prefix.add(prefix, host)
		return
	}
	x.exact[domain] = host
}

func (w *wildcards) add(text string, host *routev3.VirtualHost) {
	if w.of == nil {
		w.of = map[string]*routev3.VirtualHost{}
	}
	w.of[text] = host
	w.lengths = append(w.lengths, len(text))
}

func (w *wildcards) sort() {
	slices.SortFunc(w.lengths, func(a, b int) int { return b - a })
	w.lengths = slices.Compact(w.lengths)
}

// pick returns the virtual host of a request, nil without one; anyName says that it is the one for all that no other takes.
func (x *hostIndex) pick(host string) (found *routev3.VirtualHost, anyName bool) {
	host = strings.ToLower(host)
	if found := x.exact[host]; found != nil {
		return found, false
	}
	for _, n := range x.suffix.lengths {
		if found := x.suffix.of[tail(host, n)]; n < len(host) && found != nil {
			return found, false
		}
	}
	for _, n := range x.prefix.lengths {
		if n < len(host) && x.prefix.of[host[:n]] != nil {
			return x.prefix.of[host[:n]], false
		}
	}
	return x.all, true
}

// tail returns the last n bytes of a text.
func tail(text string, n int) string { return text[max(0, len(text)-n):] }

// authority returns the Host by which Envoy looks for a virtual host: the connection manager can take the port and
// a closing dot away, and the route configuration can ignore the port.
func authority(host string, port uint16, manager *hcmv3.HttpConnectionManager, config *routev3.RouteConfiguration) string {
	at := portStart(host)
	if manager.GetStripTrailingHostDot() {
		name, rest := host[:at], host[at:]
		host = strings.TrimSuffix(name, ".") + rest
		at = portStart(host)
	}
	strip := config.GetIgnorePortInHostMatching() || manager.GetStripAnyHostPort() ||
		manager.GetStripMatchingHostPort() && host[at:] == ":"+strconv.Itoa(int(port))
	if strip {
		return host[:at]
	}
	return host
}

// portStart returns where the colon before a port is, the length of the host without one.
func portStart(host string) int {
	colon := strings.LastIndexByte(host, ':')
	if colon < 0 || colon < strings.LastIndexByte(host, ']') {
		return len(host)
	}
	return colon
}
