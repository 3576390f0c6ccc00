package leak

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// wildcardTakesHiddenHost refuses a ServiceEntry or VirtualService with a wildcard such as *.<namespace> or *.svc, which
// covers names by which clients ask for a strict host that they do not know, because of their Sidecar or of the
// Service's annotation [I9]. Whichever comes second is refused. What they know has these names itself, and wins. A
// ServiceEntry that only lets requests go on passes, unless a VirtualService has routes for its wildcard.
func wildcardTakesHiddenHost() Rule {
	return Rule{
		ID:      "wildcard-takes-hidden-host",
		Summary: "A wildcard must not cover a short name of a strict host that clients do not know.",
		Why: "Clients ask for a Service as <name>.<namespace> or <name>.<namespace>.svc. A client that knows the " +
			"Service has routes for these names. One from whom a Sidecar or an annotation hides the Service has " +
			"none, and a wildcard such as *.<namespace> or *.svc takes its requests. Whichever of the two " +
			"objects comes second is refused.",
		Fix:       "Choose another wildcard, or let the clients know the host.",
		Rows:      []string{"I9"},
		Kinds:     []string{object.KindServiceEntry, object.KindVirtualService, object.KindSidecar},
		Severity:  Deny,
		Otherwise: "the requests of those clients for a short name of the host go where the wildcard leads",
		Instead:   "choose another wildcard, or let the clients know the host",
		check: func(o Write, view *policy.View) []breach {
			if o.Sidecar != nil {
				return hiddenFromWildcards(o.Object, view)
			}
			return hiddenUnderWildcards(o.Object, view)
		},
	}
}

// hiddenUnderWildcards judges a ServiceEntry or VirtualService.
func hiddenUnderWildcards(o *object.Object, view *policy.View) []breach {
	var found []breach
	var importers []policy.Clients
	for i, name := range wildcardHosts(o) {
		if !takesShort(name, o, view) {
			continue
		}
		if importers == nil && !takesNames(o, view) {
			return nil
		}
		if importers == nil {
			importers = view.Importers(o.Metadata.Namespace, exportOf(o))
		}
		var hosts []policy.FencedHost
		by := ""
		for _, c := range importers {
			if host, hidden := hiddenUnder(&c, o, name, view); hidden {
				hosts = append(hosts, host)
				if by == "" {
					by = hiding(c)
				}
			}
		}
		if len(hosts) > 0 {
			found = append(found, breach{
				path: []string{"spec", "hosts", strconv.Itoa(i)}, value: name, host: policy.Together(hosts...),
				must: fmt.Sprintf("not cover a short name of a host that %s from clients", by),
			})
		}
	}
	return found
}

// hiddenFromWildcards judges a Sidecar.
func hiddenFromWildcards(o *object.Object, view *policy.View) []breach {
	var found []breach
	for _, c := range view.ClientsOf(o) {
		for _, w := range wildcardsOver(&c, view) {
			found = append(found, breach{
				path: []string{"spec", "egress"}, at: fmt.Sprint(w.object.Key(), w.name), host: w.host,
				must: "let its clients know every host with a short name that " + w.String() + " covers",
			})
		}
	}
	return found
}

// wildcard is a host of a ServiceEntry or VirtualService that takes requests for strict hosts that some clients do
// not know.
type wildcard struct {
	object *object.Object
	name   string
	host   policy.FencedHost
}

func (w wildcard) String() string {
	return fmt.Sprintf("host %q of %s %s/%s", w.name, w.object.Kind, w.object.Metadata.Namespace, w.object.Metadata.Name)
}

// wildcardsOver lists what takes requests of clients in that way.
func wildcardsOver(c *policy.Clients, view *policy.View) []wildcard {
	if _, hidden := view.StrictHidden(c, policy.Ports{}); !hidden {
		return nil
	}
	var found []wildcard
	for _, o := range view.CoveringShort() {
		if !takesNames(o, view) {
			continue
		}
		clients := clientsBeside(c, o, view)
		for _, name := range wildcardHosts(o) {
			if !takesShort(name, o, view) {
				continue
			}
			if host, hidden := hiddenUnder(&clients, o, name, view); hidden {
				found = append(found, wildcard{o, name, host})
			}
		}
	}
	return found
}

func wildcardHosts(o *object.Object) []string {
	if o.ServiceEntry != nil {
		return o.ServiceEntry.Hosts
	}
	return o.VirtualService.Hosts
}

func exportOf(o *object.Object) []string {
	if o.ServiceEntry != nil {
		return o.ServiceEntry.ExportTo
	}
	return o.VirtualService.ExportTo
}

// takesNames reports whether what an object takes by a name can get out: a VirtualService may lead to strict hosts alone,
// by itself.
func takesNames(o *object.Object, view *policy.View) bool {
	if o.VirtualService == nil {
		return true
	}
	return o.VirtualService.InMesh() && leadsElsewhere(o, view)
}

// leadsElsewhere reports whether a VirtualService may lead to another host than strict ones.
func leadsElsewhere(o *object.Object, view *policy.View) bool {
	to := newDestinations(view)
	for d := range o.VirtualService.Targets() {
		if !to.strict(d, o) {
			return true
		}
	}
	return delegates(o)
}

// takesShort reports whether an object may take requests for short names by a wildcard: by their Host, unless they go on
// to where they were going, or by an address that names of a search domain lead to.
func takesShort(name string, o *object.Object, view *policy.View) bool {
	if _, search := searchDomain(name, o, view); search {
		return true
	}
	_, short := hostname.ShortWildcard(name)
	return short && (o.ServiceEntry == nil || !passesOn(name, o) || routed(name, view))
}

// searchDomain returns the Namespace whose clients have a search domain all of whose names lead to an address of a
// ServiceEntry, by a wildcard.
func searchDomain(name string, o *object.Object, view *policy.View) (namespace string, ok bool) {
	if o.ServiceEntry == nil || !addressed(o) {
		return "", false
	}
	return hostname.SearchDomain(name, view.Config().ClusterDomain)
}

// addressed reports whether names lead to an address of a ServiceEntry, on whatever port.
func addressed(o *object.Object) bool {
	return len(o.ServiceEntry.Addresses)+len(o.ServiceEntry.Status.Addresses) > 0
}

// hiddenUnder returns the strict hosts that clients ask for by a name under a wildcard, where they know that and not the
// hosts. In a search domain it covers the names of all: the first that clients of that Namespace ask for
// (lookupHost in Istio's pkg/dns/client/dns.go). Where names lead to an address they do so on every port.
func hiddenUnder(c *policy.Clients, o *object.Object, name string, view *policy.View) (policy.FencedHost, bool) {
	suffix, _ := hostname.ShortWildcard(name)
	if o.VirtualService != nil {
		if !c.Routes(o.Metadata.Namespace, name, o.VirtualService.ExportTo) {
			return policy.FencedHost{}, false
		}
		return view.StrictHiddenName(c, policy.Ports{}, suffix)
	}
	if addressed(o) {
		return hiddenByAddress(c, o, name, suffix, view)
	}
	numbers := listening(c, o, name, object.Transport.Named)
	if len(numbers) == 0 {
		return policy.FencedHost{}, false
	}
	return view.StrictHiddenName(c, policy.Ports{Numbers: numbers}, suffix)
}

// hiddenByAddress does so where names under the wildcard of a ServiceEntry lead to an address of it, also where it has no
// port: what clients then send to that address goes there.
func hiddenByAddress(c *policy.Clients, o *object.Object, name, suffix string, view *policy.View) (policy.FencedHost, bool) {
	namespace, search := searchDomain(name, o, view)
	switch {
	case search && c.Namespace != "" && c.Namespace != namespace, !c.Answered(o, name):
		return policy.FencedHost{}, false
	case search:
		return view.StrictHidden(c, policy.Ports{})
	}
	return view.StrictHiddenName(c, policy.Ports{}, suffix)
}

// listening lists the ports, sorted, on which clients listen for a host of a ServiceEntry by such a transport.
func listening(c *policy.Clients, o *object.Object, host string, such func(object.Transport) bool) []int64 {
	var numbers []int64
	for _, p := range o.ServiceEntry.Ports {
		if c.Listen(o, host, p, such) {
			numbers = append(numbers, p.Number)
		}
	}
	slices.Sort(numbers)
	return numbers
}
