package leak

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// excuse names what an exemption of the FenceConfig must cover so that a finding about another object counts as
// accepted.
type excuse struct {
	rule, namespace, name string
	labels                map[string]string
}

// detour is why a destination is no fence for the requests of another host.
type detour struct {
	// host is what the object names.
	host string
	// why ends "because".
	why string
	// full is the name in full where the destination is half of it; empty otherwise.
	full string
	// excuses are those of all objects that it is because of; none where nothing can excuse it.
	excuses []excuse
}

// must completes "must" for the destination itself.
func (d detour) must() string {
	if d.full != "" {
		return fmt.Sprintf("be a full name, because no Service is called %q for Istio", d.host)
	}
	if d.why == notStrict {
		return "be a strict host"
	}
	return "be a strict host that Pods of this cluster alone serve, but " + d.why
}

// breach returns what is wrong with a destination, at no place yet.
func (d detour) breach(hosts policy.FencedHost) breach {
	b := breach{value: d.host, at: d.host, host: hosts, must: d.must(), excuses: d.excuses}
	if d.full != "" {
		b.otherwise, b.instead = "requests fail, or go to whatever ServiceEntry takes that name", "write "+d.full
	}
	return b
}

const notStrict = "that is no strict host"

// destinations answers for the destinations in one object, each once.
type destinations struct {
	view *policy.View
	// named are the destinations by their names and the Namespaces that these are for, known what backs the strict ones.
	named map[[2]string]*destination
	known map[string]*detour
}

// destination is a destination, whose host is empty where it is no strict one.
type destination struct {
	strict policy.FencedHost
	backed *detour
}

func newDestinations(view *policy.View) *destinations {
	return &destinations{view: view}
}

// find answers for a destination. Nothing is a wildcard, which Istio takes for no host.
func (d *destinations) find(host, namespace string) *destination {
	name := [2]string{host, namespace}
	if found, asked := d.named[name]; asked {
		return found
	}
	found := new(destination)
	fqdn := strings.ToLower(hostname.Resolve(host, namespace, d.view.Config().ClusterDomain))
	if _, wildcard := hostname.Wildcard(fqdn); !wildcard {
		match := d.view.Match(fqdn)
		if match.Has(policy.Strict) {
			found.strict = match.Host(policy.Strict)
			backed, asked := d.known[found.strict.Host]
			if !asked {
				backed = support(found.strict.Host, d.view)
				if d.known == nil {
					d.known = map[string]*detour{}
				}
				d.known[found.strict.Host] = backed
			}
			found.backed = backed
		}
	}
	if d.named == nil {
		d.named = map[[2]string]*destination{}
	}
	d.named[name] = found
	return found
}

// of returns why a destination does not keep the requests of a strict host in this cluster, if it does not. Another
// strict host keeps them only while what backs it is local, which its own fence does not depend on: those who keep it
// may let in what they like [C15, C17].
func (d *destinations) of(taken policy.FencedHost, host, namespace string) (detour, bool) {
	found := d.find(host, namespace)
	switch {
	case found.strict.Host == "":
		return d.unfenced(host), true
	case found.strict.Same(taken) || found.backed == nil:
		return detour{}, false
	}
	return detour{host: host, why: found.backed.why, excuses: found.backed.excuses}, true
}

// from does for several hosts what of does for one, and returns those whose requests the destination does not keep.
func (d *destinations) from(from *takeover, host, namespace string) (detour, policy.FencedHost, bool) {
	found := d.find(host, namespace)
	if found.strict.Host == "" {
		return d.unfenced(host), from.whole, true
	}
	if found.backed == nil {
		return detour{}, policy.FencedHost{}, false
	}
	hosts, foreign := from.but(found.strict.Host)
	return detour{host: host, why: found.backed.why, excuses: found.backed.excuses}, hosts, foreign
}

// unfenced returns the detour that is no strict host. A name such as reviews.shop is half of that of a Service: Istio
// completes none that has a dot (ResolveShortnameToFQDN in its pilot/pkg/model/config.go), so that requests are
// answered with 503 unless a ServiceEntry takes that name.
func (d *destinations) unfenced(host string) detour {
	found := detour{host: host, why: notStrict}
	name, in, _ := strings.Cut(strings.TrimSuffix(strings.ToLower(host), ".svc"), ".")
	if service := (hostname.Host{Namespace: in, Name: name}); name != "*" && in != "" && !strings.Contains(in, ".") && d.view.Known(service) {
		found.full = service.FQDN(d.view.Config().ClusterDomain)
		found.why = "no Service is called so for Istio"
	}
	return found
}

// support returns why a strict host may be served from elsewhere; nil where nothing says so.
func support(fqdn string, view *policy.View) *detour {
	host, inside := hostname.Parse(fqdn, view.Config().ClusterDomain)
	if !inside {
		return nil
	}
	var why []string
	var excuses []excuse
	add := func(rule string, o *object.Object, what string) {
		why = append(why, fmt.Sprintf("%s %s", o.Key(), what))
		excuses = append(excuses, excuse{rule, o.Metadata.Namespace, o.Metadata.Name, o.Metadata.Labels})
	}
	if view.ServedByHand(host) {
		service := &object.Object{Kind: object.KindService, Metadata: object.Metadata{Namespace: host.Namespace, Name: host.Name}}
		add("service-without-selector", service, "has no selector, and users write its endpoints")
	}
	for _, o := range view.Related(host) {
		switch {
		case o.ServiceEntry != nil && entryClaims(o, fqdn, view):
			add("serviceentry-fenced-host", o, "joins it")
		case (o.WorkloadEntry != nil || o.WorkloadGroup != nil) && o.Metadata.Namespace == host.Namespace &&
			selectsWorkload(host, o, view) && !ofGroup(o, host, view) && !keptOut(o, view):
			add("workloadentry-joins-fenced-service", o, "joins it")
		case o.EndpointSlice != nil && len(o.Addresses()) > 0 && !keptByController(o, host, view):
			add("endpointslice-foreign-writer", o, "adds addresses to it by hand")
		}
	}
	for _, o := range view.GatewaysOn(host) {
		add("gateway-on-strict-destination", o, "sends on what arrives at its Pods")
	}
	for _, o := range view.HopsOn(host) {
		add("sidecar-on-strict-destination", o, "sends on what arrives at its Pods")
	}
	if len(why) == 0 {
		return nil
	}
	return &detour{host: fqdn, why: summary(why), excuses: excuses}
}

// summary names the first of what there is, and how many more there are.
func summary(list []string) string {
	if more := len(list) - 1; more > 0 {
		return fmt.Sprintf("%s, and so do %d more", list[0], more)
	}
	return list[0]
}

// entryClaims reports whether a ServiceEntry has a host in the inventory under which it was found for a Service: its
// name, another spelling of it, or a wildcard.
func entryClaims(o *object.Object, fqdn string, view *policy.View) bool {
	return slices.ContainsFunc(o.ServiceEntry.Hosts, func(h string) bool {
		if suffix, wildcard := hostname.Wildcard(strings.ToLower(h)); wildcard {
			return strings.HasSuffix(fqdn, suffix) && !passesOn(h, o)
		}
		found, strict := claimed(h, o.Metadata.Namespace, view)
		return strict && found.Host == fqdn
	})
}

// ofGroup reports whether istiod made a WorkloadEntry for a WorkloadGroup that the Service selects itself.
func ofGroup(o *object.Object, host hostname.Host, view *policy.View) bool {
	group, ok := view.Object(object.Key{
		Kind: object.KindWorkloadGroup, Namespace: o.Metadata.Namespace, Name: o.Metadata.Annotations[groupAnnotation],
	})
	return ok && o.WorkloadEntry != nil && selectsWorkload(host, group, view)
}

// leading is a VirtualService that sends requests for strict hosts to another one, or a Service that is but another name
// for it.
type leading struct {
	*object.Object
	hosts []policy.FencedHost
}

// does says how it leads there.
func (l leading) does() string {
	name := fmt.Sprintf("%s %s/%s", l.Kind, l.Metadata.Namespace, l.Metadata.Name)
	if l.Kind == object.KindService {
		return name + ", which is strict, is but another name for it"
	}
	return name + " sends requests for a strict host to it"
}

// leadersOf lists the VirtualServices that send requests for other strict hosts to a strict host, and the strict Services
// that are but another name for it.
func leadersOf(fqdn string, view *policy.View) []leading {
	var list []leading
	for _, alias := range view.Aliases(fqdn) {
		if match := view.Match(alias.FQDN(view.Config().ClusterDomain)); match.Has(policy.Strict) {
			named := &object.Object{Kind: object.KindService, Metadata: object.Metadata{Namespace: alias.Namespace, Name: alias.Name}}
			list = append(list, leading{named, []policy.FencedHost{match.Host(policy.Strict)}})
		}
	}
	for _, o := range view.Covering(fqdn) {
		if o.VirtualService == nil || !sendsTo(o, fqdn, view) {
			continue
		}
		list = append(list, leadersBy(o, fqdn, view)...)
	}
	return list
}

// leadersBy lists those that a VirtualService with a route to the host makes: itself, or those that leave requests to it.
func leadersBy(o *object.Object, fqdn string, view *policy.View) []leading {
	var list []leading
	for _, root := range append(roots(o, view), o) {
		if hosts := others(takenOver(root, view), fqdn); len(hosts) > 0 {
			list = append(list, leading{root, hosts})
		}
	}
	return list
}

// roots lists the VirtualServices that leave requests to a delegate.
func roots(o *object.Object, view *policy.View) []*object.Object {
	if len(o.VirtualService.Hosts) > 0 {
		return nil
	}
	return slices.DeleteFunc(view.Delegators(o.Key()), func(root *object.Object) bool { return !sees(root, o) })
}

// sendsTo reports whether a VirtualService has a route for clients of this cluster to a host.
func sendsTo(o *object.Object, fqdn string, view *policy.View) bool {
	routes := newRoutes(o.VirtualService, view.Config())
	for path, d := range o.VirtualService.Destinations() {
		host := strings.ToLower(hostname.Resolve(d.Host, o.Metadata.Namespace, view.Config().ClusterDomain))
		if host == fqdn && routes.used(path) {
			return true
		}
	}
	return false
}

// others lists the hosts that are not the one given.
func others(taken []takenHost, fqdn string) []policy.FencedHost {
	var hosts []policy.FencedHost
	for _, host := range taken {
		if host.Host != fqdn {
			hosts = append(hosts, host.FencedHost)
		}
	}
	return hosts
}

// leaders adds to the hosts of findings those whose requests are sent there, so that nobody softens what becomes of
// these by what is said of the destination.
type leaders struct {
	view *policy.View
	// namespace is that of the object, whose enforcement counts for a host without one.
	namespace string
	known     map[string][]policy.FencedHost
}

func (l *leaders) add(host policy.FencedHost) policy.FencedHost {
	if host.Fence != policy.Strict {
		return host
	}
	var all []policy.FencedHost
	for _, fqdn := range host.Hosts() {
		found, asked := l.known[fqdn]
		if !asked {
			for _, o := range leadersOf(fqdn, l.view) {
				found = append(found, o.hosts...)
			}
			if l.known == nil {
				l.known = map[string][]policy.FencedHost{}
			}
			l.known[fqdn] = found
		}
		all = append(all, found...)
	}
	if len(all) > 0 && host.Enforcement == "" {
		host.Enforcement = l.view.Enforcement(l.namespace, host.Locked) // those who send must not soften it either
	}
	return host.Touching(all...)
}

// leadsToStrict reports whether a destination in an object keeps the requests of any strict host in this cluster.
func leadsToStrict(d object.Destination, o *object.Object, view *policy.View) bool {
	return newDestinations(view).strict(d, o)
}

// strict does for one of the destinations what leadsToStrict does.
func (d *destinations) strict(to object.Destination, o *object.Object) bool {
	_, foreign := d.of(policy.FencedHost{}, to.Host, o.Metadata.Namespace)
	return !foreign
}
