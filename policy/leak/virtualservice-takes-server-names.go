package leak

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// virtualServiceTakesServerNames refuses routes for any server name on a Gateway's port for other clusters that lead to a
// host that is not strict: they take what is for strict hosts there [H5]. A server that passes TLS on has those of tls, one
// that looks at nothing has those of tcp; one that ends TLS itself is none that clients take for a strict host, because
// they look at who answers. On any other port, and for names that a Gateway does not let in, such a route is an ordinary
// one. Whichever of the two comes second is refused.
func virtualServiceTakesServerNames() Rule {
	return Rule{
		ID:      "virtualservice-takes-server-names",
		Summary: "A route on a gateway for other clusters must not take any server name to a host that is not strict.",
		Why: "Other clusters ask for a strict host by a server name on that port. A TLS route for any name, or for a " +
			"wildcard that covers it, takes those connections, and so does a TCP route of a server that does not " +
			"look at TLS. Whichever of the VirtualService and the Gateway comes second is refused.",
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
			t := takenNames{view, host, o.destinations(view)}
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

// routes judges the routes of a VirtualService.
func (t takenNames) routes(o *object.Object) []breach {
	var found []breach
	for _, c := range o.Crossings() {
		gateway, taken := t.taken(c)
		if !taken {
			continue
		}
		for j, d := range c.Route {
			if b, foreign := t.foreign(o, d); foreign {
				b.path = []string{"spec", c.Section, strconv.Itoa(c.Index), "route", strconv.Itoa(j), "destination", "host"}
				b.must += fmt.Sprintf(", because Gateway %s/%s lets every server name in on port %d", gateway.Namespace, gateway.Name, object.EastWestPort)
				found = append(found, b)
			}
		}
	}
	return found
}

// taken returns a Gateway on which a route takes the server names of strict hosts.
func (t takenNames) taken(c object.Crossing) (object.Key, bool) {
	for _, key := range c.Gateways {
		if gateway, exists := t.view.Object(key); exists && t.server(gateway.Gateway, c.Section) >= 0 {
			return key, true
		}
	}
	return object.Key{}, false
}

// server returns the index of a server that lets the server names of strict hosts in, looks at nothing else of them and has
// the routes of a section; -1 where there is none.
func (t takenNames) server(g *object.Gateway, section string) int {
	return slices.IndexFunc(g.Servers, func(s object.GatewayServer) bool {
		switch {
		case s.Port.Number != object.EastWestPort:
			return false
		case section == "tcp":
			return s.Opaque()
		}
		return s.TLS != nil && s.TLS.Mode == "PASSTHROUGH" && slices.ContainsFunc(s.Hosts, func(host string) bool {
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
	var found []breach
	for _, bound := range t.view.TakingServerNames(o.Key()) {
		if server, to := t.leads(bound, o); server >= 0 {
			found = append(found, breach{
				path: []string{"spec", "servers", strconv.Itoa(server), "hosts"}, value: strings.Join(o.Gateway.Servers[server].Hosts, ","),
				at: bound.Metadata.Namespace + "/" + bound.Metadata.Name, host: t.host,
				must: fmt.Sprintf("not let in the names of strict hosts, which VirtualService %s/%s sends to %s", bound.Metadata.Namespace, bound.Metadata.Name, to),
			})
		}
	}
	return found
}

// leads returns the server of a Gateway at which a VirtualService leads any server name to a host that is no fence, and that
// host; -1 where there is none.
func (t takenNames) leads(o, gateway *object.Object) (server int, to string) {
	for _, c := range o.Crossings() {
		server := t.server(gateway.Gateway, c.Section)
		if server < 0 || !slices.Contains(c.Gateways, gateway.Key()) {
			continue
		}
		for _, d := range c.Route {
			if _, foreign := t.foreign(o, d); foreign {
				return server, d.Destination.Host
			}
		}
	}
	return -1, ""
}
