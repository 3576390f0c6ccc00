package leak

import (
	"slices"
	"strconv"
	"strings"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// wildcardTakesShortName warns of a wildcard such as *.<namespace> or *.svc that covers short names of strict hosts, on
// a port of HTTP of theirs, of what it takes from clients who know them [D16]: requests for such a name with a closing
// dot, which the routes of a wildcard have and those of a Service lack (GenerateAltVirtualHosts in Istio's
// pilot/pkg/networking/core/httproute.go), and TLS for such a name. So it does of a VirtualService on a gateway, which has no
// other routes for these names [C3]. What it takes from clients who do not know the host is for wildcard-takes-hidden-host.
func wildcardTakesShortName() Rule {
	return Rule{
		ID:      "wildcard-takes-short-name",
		Summary: "A wildcard should not cover a short name of a strict host.",
		Why: "Clients who know the host have routes for its short names. These lack the name with a closing dot, " +
			"and server names of TLS on an HTTP port. A wildcard such as *.<namespace> or *.svc takes such " +
			"requests, and on a gateway every request for a short name.",
		Fix:      "Choose another wildcard.",
		Rows:     []string{"C3", "D16"},
		Kinds:    []string{object.KindServiceEntry, object.KindVirtualService},
		Severity: Warn,
		Instead:  "choose another wildcard",
		check: func(o Write, view *policy.View) []breach {
			var found []breach
			for i, name := range wildcardHosts(o.Object) {
				suffix, ok := hostname.ShortWildcard(name)
				if !ok {
					continue
				}
				if o.VirtualService != nil && !leadsElsewhere(o.Object, view) {
					return nil
				}
				for _, n := range shortNamesTaken(o.Object, name, view) {
					if host, strict := view.StrictName(n.ports, suffix); strict {
						found = append(found, breach{
							path: []string{"spec", "hosts", strconv.Itoa(i)}, value: name, at: n.what, host: host,
							must:      "not cover a short name of a strict host",
							otherwise: n.what + " goes where the wildcard leads, " + n.by,
						})
					}
				}
			}
			return found
		},
	}
}

// taken is what a wildcard takes on some ports, and who asks for it.
type taken struct {
	what, by string
	ports    policy.Ports
}

// shortNamesTaken lists what a wildcard of an object takes although clients know the hosts. That of a VirtualService has
// no closing dot unless it is written with one, and a ServiceEntry that resolves nothing lets all go on to where it was
// going, unless a VirtualService says otherwise.
func shortNamesTaken(o *object.Object, name string, view *policy.View) []taken {
	const clients = "from clients who know the host too"
	requests := taken{"a request for that name with a closing dot", clients, policy.Ports{HTTP: true}}
	if v := o.VirtualService; v != nil {
		var list []taken
		if v.InMesh() && strings.HasSuffix(name, ".") && len(v.HTTP) > 0 {
			list = append(list, requests)
		}
		if !v.InMeshAlone() && len(v.HTTP)+len(v.TLS) > 0 {
			list = append(list, taken{what: "a request for that name", by: "from whoever asks a gateway"})
		}
		return list
	}
	if !o.ServiceEntry.Resolves() && !routed(name, view) {
		return nil
	}
	tls := taken{"TLS for that name, on a port of HTTP,", clients, policy.Ports{HTTP: true}}
	bare := len(o.ServiceEntry.BarePorts()) > 0
	for _, p := range o.ServiceEntry.Ports {
		switch t := p.Transport(); {
		case t == object.TransportHTTP, t == object.TransportAuto && bare:
			requests.ports.Numbers = append(requests.ports.Numbers, p.Number)
		case t == object.TransportTLS && bare:
			tls.ports.Numbers = append(tls.ports.Numbers, p.Number)
		}
	}
	var list []taken
	for _, t := range []taken{requests, tls} {
		if len(t.ports.Numbers) > 0 {
			slices.Sort(t.ports.Numbers)
			list = append(list, t)
		}
	}
	return list
}

// routed reports whether a VirtualService sends what is for a host of a ServiceEntry to one that is not strict.
func routed(name string, view *policy.View) bool {
	return slices.ContainsFunc(view.Covering(name), func(o *object.Object) bool {
		return o.VirtualService != nil && takesNames(o, view)
	})
}
