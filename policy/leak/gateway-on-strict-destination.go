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
// a Pod that comes later is found by the audit.
func gatewayOnStrictDestination() Rule {
	return Rule{
		ID: "gateway-on-strict-destination",
		Summary: "A Gateway must not choose the Pods of a strict Service to which the requests of another strict host " +
			"are sent.",
		Why: "The Pods are then a gateway, and send those requests on by the VirtualServices of that Gateway. No " +
			"fence is about where they lead.",
		Fix:       "Choose Pods that no such Service has, or first take the name of that Service out of the routes.",
		Rows:      []string{"C17"},
		Kinds:     []string{object.KindGateway},
		Severity:  Deny,
		Otherwise: "those requests go on to wherever the routes of the Gateway lead",
		Instead:   "choose Pods that no such Service has, or take its name out of the routes of that VirtualService first",
		check: func(o Write, view *policy.View) []breach {
			var found []breach
			for _, other := range view.LeadingElsewhere() {
				for _, root := range append(roots(other, view), other) {
					found = append(found, hops(o.Object, other, root, view)...)
				}
			}
			return found
		},
	}
}

// hops returns the breaches of a Gateway on the destinations of a VirtualService, or of the delegate of one.
func hops(gateway, o, root *object.Object, view *policy.View) []breach {
	taken := takenOver(root, view)
	if len(taken) == 0 {
		return nil
	}
	var found []breach
	seen := map[string]bool{}
	takeovers, routes := newTakeovers(taken), newRoutes(o.VirtualService, view.Config())
	for path, d := range o.VirtualService.Destinations() {
		fqdn := strings.ToLower(hostname.Resolve(d.Host, o.Metadata.Namespace, view.Config().ClusterDomain))
		from := takeovers.by(path)
		if from == nil || seen[fqdn] || !routes.used(path) {
			continue
		}
		seen[fqdn] = true
		host, inside := hostname.Parse(fqdn, view.Config().ClusterDomain)
		if !inside {
			continue
		}
		match := view.Match(fqdn)
		hosts, led := from.but(fqdn)
		if !led || !match.Has(policy.Strict) || !view.GatewayOn(gateway.Gateway, host) {
			continue
		}
		found = append(found, breach{
			path:  []string{"spec", "selector"},
			value: labelList(gateway.Gateway.Selector),
			at:    fqdn,
			host:  hosts,
			must: fmt.Sprintf("not choose Pods of %s, to which VirtualService %s/%s sends requests for a strict host",
				fqdn, root.Metadata.Namespace, root.Metadata.Name),
		})
	}
	return found
}
