package policy

import (
	"maps"
	"slices"
	"strings"

	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// leadsName is among the names of a VirtualService that sends requests for a Service to another host. No host
// looks like it, nor like that of a Gateway for a label.
const leadsName = "leads/"

func gatewayName(pair string) string { return "gateway/" + pair }

// frontName is that of the Gateways that are for the Pods of Services in a Namespace.
func frontName(namespace string) string { return "front/" + namespace }

// gatewayNames lists the labels by which a Gateway chooses Pods, and all of them together; without any it is for all
// gateways.
func gatewayNames(o *object.Object) []string {
	if _, ok := o.Fronts(); ok {
		return []string{frontName(o.Metadata.Namespace)}
	}
	list := pairs(o.ChosenBy())
	if len(list) == 0 {
		return []string{gatewayName("")}
	}
	names := []string{gatewayName(strings.Join(list, ","))}
	for _, pair := range list {
		names = append(names, gatewayName(pair))
	}
	return names
}

// leadsElsewhere reports whether a VirtualService may send requests for a Service to another host than one that it is
// for. A delegate may.
func leadsElsewhere(o *object.Object, config *Config) bool {
	resolve := func(host string) string {
		return hostname.Canonical(hostname.Resolve(host, o.Metadata.Namespace, config.ClusterDomain))
	}
	var own []string
	inside := len(o.VirtualService.Hosts) == 0
	for _, host := range o.VirtualService.Claims() {
		host = resolve(host)
		own = append(own, host)
		inside = inside || config.mayBeService(host)
	}
	if !inside && !o.VirtualService.ClaimsAddress() {
		return false
	}
	for d := range o.VirtualService.Targets() {
		if host := resolve(d.Host); len(own) != 1 || own[0] != host {
			return true
		}
	}
	return false
}

// mayBeService reports whether a host is a name by which a Service may be asked for, or a wildcard for such names.
func (c *Config) mayBeService(host string) bool {
	domain := ".svc." + c.ClusterDomain
	suffix, wildcard := hostname.Wildcard(host)
	return wildcard && (strings.HasSuffix(domain, suffix) || strings.HasSuffix(suffix, domain) || strings.Count(suffix, ".") < 2) ||
		strings.HasSuffix(host, domain) || strings.HasSuffix(host, ".svc") || strings.Count(host, ".") < 2 || hostname.IsAddress(host)
}

// LeadingElsewhere returns the VirtualServices that may send requests for a Service to another host, sorted by key.
func (v *View) LeadingElsewhere() []*object.Object { return v.named(leadsName) }

// LeadingInto returns those of them that have a route to a Service of a Namespace.
func (v *View) LeadingInto(namespace string) []*object.Object { return v.named(leadsName + namespace) }

// Routing returns the VirtualServices and DestinationRules that are for Services of a Namespace, or lead there, sorted by
// key.
func (v *View) Routing(namespace string) []*object.Object {
	related := v.index.inventory.find([]string{"." + namespace + ".svc." + v.config.ClusterDomain}, routesName+namespace)
	return slices.DeleteFunc(related, func(o *object.Object) bool { return o.VirtualService == nil && o.DestinationRule == nil })
}

// routesName begins the name of a Namespace among those of the VirtualServices and DestinationRules that are for its
// Services or lead there. No host looks like it.
const routesName = "routes/"

// within lists the Namespaces in which hosts are, some maybe more than once.
func (c *Config) within(hosts []string) []string {
	var list []string
	for _, host := range hosts {
		suffix, wildcard := hostname.Wildcard(host)
		if wildcard {
			host = "any" + suffix
		}
		if h, inside := hostname.Parse(host, c.ClusterDomain); inside && (len(list) == 0 || list[len(list)-1] != h.Namespace) {
			list = append(list, h.Namespace)
		}
	}
	return list
}

// Selects reports whether a Service selects what has the labels.
func (v *View) Selects(h hostname.Host, labels map[string]string) bool {
	return v.backendOf(h).selects(labels)
}

// GatewayOn reports whether a Gateway chooses Pods of a Service: its selector contradicts no label that the Service
// selects by, and has one of them or is empty, so that it is bound to; or a Pod has the labels of both. One that is for the
// Pods of Services, or of the Gateway API, does so in its own Namespace.
func (v *View) GatewayOn(o *object.Object, h hostname.Host) bool {
	b := v.backendOf(h)
	services, fronts := o.Fronts()
	switch {
	case (fronts || o.APIGateway != nil) && o.Metadata.Namespace != h.Namespace, o.APIGateway != nil && !v.isIstioGateway(o):
		return false
	case fronts:
		return slices.ContainsFunc(services, func(name string) bool { return v.sharesPods(name, h, b) })
	}
	return v.choosesPods(o.ChosenBy(), h, b)
}

// choosesPods reports whether labels are bound to choose Pods of a Service, or a Pod has those of both.
func (v *View) choosesPods(labels map[string]string, h hostname.Host, b backend) bool {
	return b.overlaps(labels) || b.apart(labels) && v.hasPod(h.Namespace, slices.Concat(b.selector, pairs(labels))...)
}

// SendsOn reports whether Pods of a Service send on what arrives at them by a Sidecar, which chooses Pods as Gateways do.
func (v *View) SendsOn(o *object.Object, h hostname.Host) bool {
	if o.Sidecar.SendsOn() < 0 || o.Metadata.Namespace != h.Namespace && !isRootSidecar(o, v.config) {
		return false
	}
	var labels map[string]string // all Pods
	if selector := o.Sidecar.WorkloadSelector; selector != nil {
		labels = selector.Labels
	}
	return v.choosesPods(labels, h, v.backendOf(h))
}

// HopsOn returns the Sidecars by which Pods of a Service send on what arrives at them, sorted by key.
func (v *View) HopsOn(h hostname.Host) []*object.Object {
	return slices.DeleteFunc(v.named(hopName(""), hopName(h.Namespace)), func(o *object.Object) bool { return !v.SendsOn(o, h) })
}

// isIstioGateway reports whether a Gateway of the Gateway API is one whose Pods istiod has send on what arrives.
func (v *View) isIstioGateway(o *object.Object) bool {
	reader := v.gatewayReader(o)
	return reader.Istio && reader.Unsure == "" && o.APIGateway.GatewayClassName != remoteGatewayClass
}

// sharesPods reports whether a name is that of a Service, or of another one in its Namespace that may choose its Pods.
func (v *View) sharesPods(name string, h hostname.Host, b backend) bool {
	other, inside := hostname.Parse(strings.ToLower(hostname.Resolve(name, h.Namespace, v.config.ClusterDomain)), v.config.ClusterDomain)
	if !inside || other.Namespace != h.Namespace {
		return false
	}
	selector := v.backendOf(other).selector
	return other == h || len(selector) > 0 && b.overlaps(labelsOf(selector))
}

// GatewaysOn returns the Gateways that choose Pods of a Service, sorted by key.
func (v *View) GatewaysOn(h hostname.Host) []*object.Object {
	b := v.backendOf(h)
	names := []string{gatewayName(""), frontName(h.Namespace)}
	for _, pair := range b.selector {
		names = append(names, gatewayName(pair))
	}
	for _, o := range v.index.inventory.oneOfEachSelector() {
		if b.apart(o.Gateway.Selector) && v.GatewayOn(o, h) {
			names = append(names, gatewayNames(o)[0])
		}
	}
	return slices.DeleteFunc(v.named(names...), func(o *object.Object) bool { return !v.GatewayOn(o, h) })
}

// ServedByHand reports whether the index knows that a Service chooses no Pods: users write its endpoints, or it is but
// another name. The API server keeps those of its own Service.
func (v *View) ServedByHand(h hostname.Host) bool {
	b, known := v.knownBackend(h)
	return known && !h.IsAPIServer() && (b.external || len(b.selector) == 0)
}

// oneOfEachSelector returns a Gateway for each set of labels by which Gateways choose Pods.
func (i *inventory) oneOfEachSelector() []*object.Object {
	i.mu.RLock()
	defer i.mu.RUnlock()
	var list []*object.Object
	for _, name := range slices.Sorted(maps.Keys(i.selectors)) {
		for key := range i.byName[name] {
			if o := i.objects[key].Object; o.Gateway != nil && gatewayNames(o)[0] == name {
				list = append(list, o)
				break
			}
		}
	}
	return list
}
