package leak

import (
	"fmt"
	"strings"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// gatewayOnStrictDestination refuses a Gateway on the Pods of a strict Service to which requests for another strict
// host are sent: what they do there is for the VirtualServices of that Gateway to say, and no fence is about that
// [C17]. A Gateway that has no label in common with the Service chooses its Pods where one of them has the labels of both;
// a Pod that comes later is found by the audit, and so is a further Service on the Pods of a Gateway of the Gateway API.
func gatewayOnStrictDestination() Rule {
	return Rule{
		ID: "gateway-on-strict-destination",
		Summary: "A Gateway must not choose the Pods of a strict Service to which the requests of another strict host " +
			"are sent.",
		Why: "The Pods are then a gateway, and send those requests on by the VirtualServices of that Gateway. No " +
			"fence is about where they lead.",
		Fix:       "Choose Pods that no such Service has, or first take the name of that Service out of the routes.",
		Rows:      []string{"C17"},
		Kinds:     []string{object.KindGateway, object.KindAPIGateway},
		Severity:  Deny,
		Otherwise: "those requests go on to wherever the routes of the Gateway lead",
		Instead:   "choose Pods that no such Service has, or take its name out of the routes of that VirtualService first",
		check: func(o Write, view *policy.View) []breach {
			path, value := choice(o.Object)
			on := func(host hostname.Host) bool { return view.GatewayOn(o.Object, host) }
			return hops(breach{path: path, value: value, must: "not choose Pods of"}, on, view)
		},
	}
}

// choice returns where a Gateway says what Pods it is for, and what it says.
func choice(o *object.Object) (path object.Path, value string) {
	services, fronts := o.Fronts()
	switch {
	case fronts && o.Gateway != nil:
		return []string{"metadata", "annotations", object.GatewayServiceAnnotation}, strings.Join(services, ",")
	case fronts:
		return []string{"spec", "addresses"}, strings.Join(services, ",")
	case o.Gateway == nil:
		return []string{"metadata", "name"}, o.Metadata.Name
	}
	return []string{"spec", "selector"}, labelList(o.Gateway.Selector)
}

// hops returns the breaches of what sends on what arrives at Pods of the Services that it is on.
func hops(b breach, on func(hostname.Host) bool, view *policy.View) []breach {
	var found []breach
	for _, o := range view.LeadingElsewhere() {
		for _, root := range append(roots(o, view), o) {
			found = append(found, hopsOf(o, root, b, on, view)...)
		}
	}
	return found
}

// hopsOf returns those on the destinations of a VirtualService, or of the delegate of one.
func hopsOf(o, root *object.Object, b breach, on func(hostname.Host) bool, view *policy.View) []breach {
	taken := takenOver(root, view)
	if len(taken) == 0 {
		return nil
	}
	var found []breach
	seen := map[string]bool{}
	takeovers, routes := newTakeovers(taken), newRoutes(o.VirtualService, view.Config())
	must := b.must
	for route, d := range o.VirtualService.Destinations() {
		fqdn := strings.ToLower(hostname.Resolve(d.Host, o.Metadata.Namespace, view.Config().ClusterDomain))
		from := takeovers.by(route)
		if from == nil || seen[fqdn] || !routes.used(route) {
			continue
		}
		seen[fqdn] = true
		host, inside := hostname.Parse(fqdn, view.Config().ClusterDomain)
		if !inside {
			continue
		}
		match := view.Match(fqdn)
		hosts, led := from.but(fqdn)
		if !led || !match.Has(policy.Strict) || !on(host) {
			continue
		}
		b.at, b.host = fqdn, hosts
		b.must = fmt.Sprintf("%s %s, to which VirtualService %s/%s sends requests for a strict host",
			must, fqdn, root.Metadata.Namespace, root.Metadata.Name)
		found = append(found, b)
	}
	return found
}
