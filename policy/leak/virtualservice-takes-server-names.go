package leak

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// virtualServiceTakesServerNames refuses TLS routes for any server name on a Gateway's port for other clusters that lead
// to a host that is not strict: they take what is for strict hosts there [H5]. On any other port, and for names that a
// Gateway does not let in, such a route is an ordinary one. Whichever of the two comes second is refused.
func virtualServiceTakesServerNames() Rule {
	return Rule{
		ID: "virtualservice-takes-server-names",
		Summary: "A TLS route on a gateway for other clusters must not take any server name to a host that is not " +
			"strict.",
		Why: "Other clusters ask for a strict host by a server name on that port. A route for any name, or for a " +
			"wildcard that covers it, takes those connections. Whichever of the VirtualService and the Gateway " +
			"comes second is refused.",
		Fix:       "Name the server names that the route is for, or take another port.",
		Rows:      []string{"H5"},
		Kinds:     []string{object.KindVirtualService, object.KindGateway},
		Severity:  Deny,
		Otherwise: "what clients of other networks and clusters ask strict hosts for at that gateway goes there",
		Instead:   "name the server names that the route is for, or another port",
		check: func(o Write, view *policy.View) []breach {
			host, strict := anyStrict(view)
			if !strict {
				return nil
			}
			t := takenNames{view, host, newDestinations(view)}
			if o.Gateway != nil {
				return t.gateway(o.Object)
			}
			return t.routes(o.Object)
		},
	}
}

// takenNames finds routes that take any server name.
type takenNames struct {
	view *policy.View
	host policy.FencedHost
	to   *destinations
}

// routes judges the TLS routes of a VirtualService.
func (t takenNames) routes(o *object.Object) []breach {
	var found []breach
	for i, route := range o.VirtualService.TLS {
		gateway, taken := t.taken(route, o)
		if !taken {
			continue
		}
		for j, d := range route.Route {
			if b, foreign := t.foreign(o, d); foreign {
				b.path = []string{"spec", "tls", strconv.Itoa(i), "route", strconv.Itoa(j), "destination", "host"}
				b.must += fmt.Sprintf(", because Gateway %s/%s lets every server name in on port %d", gateway.Namespace, gateway.Name, object.EastWestPort)
				found = append(found, b)
			}
		}
	}
	return found
}

// taken returns a Gateway on which a route takes the server names of strict hosts.
func (t takenNames) taken(route object.TLSRoute, o *object.Object) (object.Key, bool) {
	for _, key := range o.AnyServerName(route) {
		if gateway, exists := t.view.Object(key); exists && t.server(gateway.Gateway) >= 0 {
			return key, true
		}
	}
	return object.Key{}, false
}

// server returns the index of a server that lets the server names of strict hosts in and looks at nothing else of them;
// -1 where there is none.
func (t takenNames) server(g *object.Gateway) int {
	return slices.IndexFunc(g.Servers, func(s object.GatewayServer) bool {
		return s.Port.Number == object.EastWestPort && s.TLS != nil && s.TLS.Mode == "PASSTHROUGH" && slices.ContainsFunc(s.Hosts, func(host string) bool {
			_, name, qualified := strings.Cut(host, "/")
			if !qualified {
				name = host
			}
			return name == "*" || insideDomain(name, t.view)
		})
	})
}

// foreign returns what is wrong with a destination, at no place yet.
func (t takenNames) foreign(o *object.Object, d object.WeightedDestination) (breach, bool) {
	if d.Destination == nil {
		return breach{}, false
	}
	detour, foreign := t.to.of(policy.FencedHost{}, d.Destination.Host, o.Metadata.Namespace)
	return detour.breach(t.host), foreign
}

// gateway judges the VirtualServices with such routes that are bound to a Gateway.
func (t takenNames) gateway(o *object.Object) []breach {
	server := t.server(o.Gateway)
	if server < 0 {
		return nil
	}
	var found []breach
	for _, bound := range t.view.TakingServerNames(o.Key()) {
		if to, leads := t.leads(bound, o.Key()); leads {
			found = append(found, breach{
				path: []string{"spec", "servers", strconv.Itoa(server), "hosts"}, value: strings.Join(o.Gateway.Servers[server].Hosts, ","),
				at: bound.Metadata.Namespace + "/" + bound.Metadata.Name, host: t.host,
				must: fmt.Sprintf("not let in the names of strict hosts, which VirtualService %s/%s sends to %s", bound.Metadata.Namespace, bound.Metadata.Name, to),
			})
		}
	}
	return found
}

// leads returns a host to which a VirtualService leads any server name that arrives at a Gateway, and that is no fence.
func (t takenNames) leads(o *object.Object, gateway object.Key) (string, bool) {
	for _, route := range o.VirtualService.TLS {
		if !slices.Contains(o.AnyServerName(route), gateway) {
			continue
		}
		for _, d := range route.Route {
			if _, foreign := t.foreign(o, d); foreign {
				return d.Destination.Host, true
			}
		}
	}
	return "", false
}
