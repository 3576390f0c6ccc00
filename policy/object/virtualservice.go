package object

import (
	"cmp"
	"iter"
	"slices"
	"strconv"

	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/jsonview"
)

// VirtualService is the part of a networking.istio.io VirtualService that is read.
type VirtualService struct {
	Hosts    []string    `json:"hosts"`
	Gateways []string    `json:"gateways"`
	ExportTo []string    `json:"exportTo"`
	HTTP     []HTTPRoute `json:"http"`
	TLS      []TLSRoute  `json:"tls"`
	TCP      []TCPRoute  `json:"tcp"`
	// Owner is the one whose controller keeps the VirtualService; nil where none does.
	Owner *Owner `json:"-"`
}

// decodeVirtualService returns what decodes a VirtualService.
func decodeVirtualService() decoder[VirtualService] {
	type view struct {
		Metadata ownedMetadata  `json:"metadata"`
		Spec     VirtualService `json:"spec"`
	}
	read := reader[view]()
	return func(data []byte, object *Object) (*VirtualService, error) {
		var v view
		if err := read(data, &v); err != nil {
			return nil, err
		}
		object.Metadata, v.Spec.Owner = v.Metadata.Metadata, controllerOf(v.Metadata.OwnerReferences)
		return &v.Spec, nil
	}
}

// MeshGateway is among the gateways of a VirtualService for the sidecars.
const MeshGateway = "mesh"

// InMesh reports whether the VirtualService routes what sidecars send.
func (v *VirtualService) InMesh() bool {
	return len(v.Gateways) == 0 || slices.Contains(v.Gateways, MeshGateway)
}

// InMeshAlone reports whether it routes nothing else.
func (v *VirtualService) InMeshAlone() bool {
	return !slices.ContainsFunc(v.Gateways, func(name string) bool { return name != MeshGateway })
}

// HTTPRoute is one entry of http.
type HTTPRoute struct {
	Match    []HTTPMatch           `json:"match"`
	Route    []WeightedDestination `json:"route"`
	Mirror   *Destination          `json:"mirror"`
	Mirrors  []WeightedDestination `json:"mirrors"`
	Delegate *Delegate             `json:"delegate"`
	Redirect *HTTPRedirect         `json:"redirect"`
	Rewrite  *HTTPRewrite          `json:"rewrite"`
	Headers  Headers               `json:"headers"`
}

// Headers changes those of requests.
type Headers struct {
	Request HeaderChanges `json:"request"`
}

// HeaderChanges are those that are set and added.
type HeaderChanges struct {
	Set map[string]string `json:"set"`
	Add map[string]string `json:"add"`
}

// HTTPRedirect sends the client elsewhere.
type HTTPRedirect struct {
	Authority string `json:"authority"`
}

// HTTPRewrite changes a request on its way.
type HTTPRewrite struct {
	Authority string `json:"authority"`
}

// ClientMatch is what istiod itself decides of a match, for each client and port. What does not match is not
// in the config of that client.
type ClientMatch struct {
	Gateways        []string          `json:"gateways"`
	Port            int64             `json:"port"`
	SourceLabels    map[string]string `json:"sourceLabels"`
	SourceNamespace string            `json:"sourceNamespace"`
}

// HTTPMatch is one match of an HTTPRoute.
type HTTPMatch struct {
	ClientMatch
	RequestMatch
}

// RequestMatch is what the client's Envoy decides of a match, for each request.
type RequestMatch struct {
	URI            jsonview.Present `json:"uri"`
	Scheme         jsonview.Present `json:"scheme"`
	Method         jsonview.Present `json:"method"`
	Authority      jsonview.Present `json:"authority"`
	Headers        jsonview.Present `json:"headers"`
	WithoutHeaders jsonview.Present `json:"withoutHeaders"`
	QueryParams    jsonview.Present `json:"queryParams"`
}

// TLSRoute is one entry of tls.
type TLSRoute struct {
	Match []TLSMatch            `json:"match"`
	Route []WeightedDestination `json:"route"`
}

// TLSMatch is one match of a TLSRoute.
type TLSMatch struct {
	ClientMatch
	SNIHosts           []string `json:"sniHosts"`
	DestinationSubnets []string `json:"destinationSubnets"`
}

// TCPRoute is one entry of tcp.
type TCPRoute struct {
	Match []TCPMatch            `json:"match"`
	Route []WeightedDestination `json:"route"`
}

// TCPMatch is one match of a TCPRoute.
type TCPMatch struct {
	ClientMatch
	DestinationSubnets []string `json:"destinationSubnets"`
}

// WeightedDestination is one of several destinations.
type WeightedDestination struct {
	Destination *Destination `json:"destination"`
	Weight      int64        `json:"weight"`
	Headers     Headers      `json:"headers"`
}

// Destination is where a route sends traffic.
type Destination struct {
	Host   string `json:"host"`
	Subset string `json:"subset"`
}

// Delegate names the VirtualService that carries the routes.
type Delegate struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
}

// Delegates yields the delegates of a VirtualService in a Namespace, whose own Namespace counts where they name
// none, with their paths.
func (v *VirtualService) Delegates(namespace string) iter.Seq2[Path, Delegate] {
	return func(yield func(Path, Delegate) bool) {
		for i, route := range v.HTTP {
			if route.Delegate == nil {
				continue
			}
			d := *route.Delegate
			d.Namespace = cmp.Or(d.Namespace, namespace)
			if !yield([]string{"spec", "http", strconv.Itoa(i), "delegate"}, d) {
				return
			}
		}
	}
}

// ClientMatches yields the matches of the route that a path of [VirtualService.Destinations] leads into, as far as
// istiod decides them; none where the route is for every client.
func (v *VirtualService) ClientMatches(path Path) iter.Seq[ClientMatch] {
	return func(yield func(ClientMatch) bool) {
		switch i, _ := strconv.Atoi(path[2]); path[1] {
		case "http":
			for _, m := range v.HTTP[i].Match {
				if !yield(m.ClientMatch) {
					return
				}
			}
		case "tls":
			for _, m := range v.TLS[i].Match {
				if !yield(m.ClientMatch) {
					return
				}
			}
		case "tcp":
			for _, m := range v.TCP[i].Match {
				if !yield(m.ClientMatch) {
					return
				}
			}
		}
	}
}

// Weighted returns the destinations among which the route chooses that a path of [VirtualService.Destinations] leads
// into.
func (v *VirtualService) Weighted(path Path) []WeightedDestination {
	switch i, _ := strconv.Atoi(path[2]); path[1] {
	case "http":
		return v.HTTP[i].Route
	case "tls":
		return v.TLS[i].Route
	case "tcp":
		return v.TCP[i].Route
	}
	return nil
}

// Targets yields every destination, for whoever needs no path.
func (v *VirtualService) Targets() iter.Seq[Destination] {
	return func(yield func(Destination) bool) {
		each := func(list []WeightedDestination) bool {
			for _, d := range list {
				if d.Destination != nil && !yield(*d.Destination) {
					return false
				}
			}
			return true
		}
		for _, route := range v.HTTP {
			if !each(route.Route) || route.Mirror != nil && !yield(*route.Mirror) || !each(route.Mirrors) {
				return
			}
		}
		for _, route := range v.TLS {
			if !each(route.Route) {
				return
			}
		}
		for _, route := range v.TCP {
			if !each(route.Route) {
				return
			}
		}
	}
}

// Destinations yields every destination with its path below the object, in the order of the object.
func (v *VirtualService) Destinations() iter.Seq2[Path, Destination] {
	return func(yield func(Path, Destination) bool) {
		w := destinationWalk{yield: yield}
		w.paths = make(Path, 0, destinationSteps*(len(v.HTTP)+len(v.TLS)+len(v.TCP)))
		for i, route := range v.HTTP {
			section, i := "http", strconv.Itoa(i)
			if !w.each(section, i, "route", route.Route) {
				return
			}
			if route.Mirror != nil && !yield(w.path("spec", section, i, "mirror"), *route.Mirror) {
				return
			}
			if !w.each(section, i, "mirrors", route.Mirrors) {
				return
			}
		}
		for i, route := range v.TLS {
			if !w.each("tls", strconv.Itoa(i), "route", route.Route) {
				return
			}
		}
		for i, route := range v.TCP {
			if !w.each("tcp", strconv.Itoa(i), "route", route.Route) {
				return
			}
		}
	}
}

// destinationSteps is how long the path of a destination is.
const destinationSteps = 6

// destinationWalk yields destinations.
type destinationWalk struct {
	yield func(Path, Destination) bool
	// paths are those of all, one after the other, so that each costs no memory of its own.
	paths Path
}

// path returns a path that whoever gets it may append to.
func (w *destinationWalk) path(steps ...string) Path {
	start := len(w.paths)
	w.paths = append(w.paths, steps...)
	return w.paths[start:len(w.paths):len(w.paths)]
}

// each yields the destinations of a list, and reports whether to go on.
func (w *destinationWalk) each(section, index, field string, list []WeightedDestination) bool {
	for i, d := range list {
		if d.Destination != nil && !w.yield(w.path("spec", section, index, field, strconv.Itoa(i), "destination"), *d.Destination) {
			return false
		}
	}
	return true
}

// SpeaksFor reports whether the routes of tcp and tls are for connections to a host of a ServiceEntry: one of the hosts
// of the VirtualService is that host, or the one covers the other, whichever is the wildcard (getConfigsForHost in
// Istio's pilot/pkg/networking/core/tls.go and Name.Matches in its pkg/config/host).
func (v *VirtualService) SpeaksFor(host string) bool {
	return slices.ContainsFunc(v.Hosts, func(own string) bool {
		return own == host || hostname.Covers(own, host) || hostname.Covers(host, own)
	})
}

// RoutesConnections reports whether the VirtualService has routes of tcp for sidecars.
func (v *VirtualService) RoutesConnections() bool { return len(v.TCP) > 0 && v.InMesh() }

// TLSNetwork reports whether the VirtualService has routes of TLS for a network, for sidecars.
func (v *VirtualService) TLSNetwork() bool {
	for path := range v.Subnets() {
		if path[1] == "tls" {
			return v.InMesh()
		}
	}
	return false
}

// Subnets yields the networks of destinations that TCP and TLS routes are for, with their paths and ports; a port
// is 0 for any.
func (v *VirtualService) Subnets() iter.Seq2[Path, Subnet] {
	return func(yield func(Path, Subnet) bool) {
		list := func(section string, route, match int, c ClientMatch, subnets []string) bool {
			for i, text := range subnets {
				path := []string{"spec", section, strconv.Itoa(route), "match", strconv.Itoa(match), "destinationSubnets", strconv.Itoa(i)}
				if !yield(path, Subnet{text, c.Port}) {
					return false
				}
			}
			return true
		}
		for i, route := range v.TCP {
			for j, match := range route.Match {
				if !list("tcp", i, j, match.ClientMatch, match.DestinationSubnets) {
					return
				}
			}
		}
		for i, route := range v.TLS {
			for j, match := range route.Match {
				if !list("tls", i, j, match.ClientMatch, match.DestinationSubnets) {
					return
				}
			}
		}
	}
}

// Subnet is a network of destinations, on one port or any.
type Subnet struct {
	Network string
	Port    int64
}

// Claims lists the hosts that a VirtualService speaks for: those that it names, with the ones that server names lead
// to, and the server names of its TLS routes with those that these cover.
func (v *VirtualService) Claims() []string {
	claims := make([]string, 0, len(v.Hosts))
	add := func(host string) {
		if inside, ok := hostname.ServerName(host); ok {
			host = inside
		}
		claims = append(claims, host)
	}
	for _, host := range v.Hosts {
		add(host)
	}
	for _, host := range v.ServerNames() {
		add(host)
	}
	return append(claims, v.Crossed()...)
}

// ServerNames lists those of the TLS routes.
func (v *VirtualService) ServerNames() []string {
	var names []string
	for _, route := range v.TLS {
		for _, match := range route.Match {
			names = append(names, match.SNIHosts...)
		}
	}
	return names
}

// ClaimsAddress reports whether a VirtualService speaks for addresses, which may be those of any Service.
func (v *VirtualService) ClaimsAddress() bool {
	if slices.ContainsFunc(v.Hosts, hostname.IsAddress) {
		return true
	}
	for range v.Subnets() {
		return true
	}
	return false
}
