package leak

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// serviceEntryServiceIP refuses a ServiceEntry, in any namespace, that claims the ClusterIP of a strict Service on
// one of its ports, by spec.addresses or by its status: of the two the older one gets what is sent there [D8, D13]. Ports
// that the Service does not have take nothing from it. The Service's listener on a TCP port is more specific than
// a network, which therefore takes ports of HTTP alone, and nothing where the ServiceEntry only lets connections go on
// to where they were going. It does not where something else of its host has endpoints, which is judged where it comes second.
func serviceEntryServiceIP() Rule {
	return Rule{
		ID:      "serviceentry-service-ip",
		Summary: "A ServiceEntry must not claim the ClusterIP of a strict Service on one of its ports.",
		Why: "Sidecars have one listener for an address and a port. Of two objects that claim it, the older one " +
			"gets what is sent there. The address may come from spec.addresses or from the status. What a ServiceEntry " +
			"that resolves nothing takes goes to the endpoints of another one with the same host in its namespace, or to " +
			"those of a Service.",
		Fix:       "Leave the address out, list narrower networks, or take another port.",
		Rows:      []string{"D8", "D13", "D14"},
		Kinds:     []string{object.KindServiceEntry},
		Severity:  Deny,
		Otherwise: "what clients send to that address goes to the endpoints of this ServiceEntry",
		Instead:   "leave the address out, list narrower networks, or take another port",
		check: func(o Write, view *policy.View) []breach {
			return append(claimedAddresses(o.Object, view), opened(o.Object, view, func(entry *object.Object) []policy.FencedHost {
				return takenByAddress(entry, view)
			})...)
		},
	}
}

// claimedAddresses lists the addresses of a ServiceEntry by which it takes what is for strict Services.
func claimedAddresses(o *object.Object, view *policy.View) []breach {
	var found []breach
	one, several := claimedPorts(o, view)
	claim := func(address string, path ...string) {
		network, ok := object.Network(address)
		ports := one
		if ok && !network.IsSingleIP() {
			ports = several
		}
		if !ok || len(ports.Numbers) == 0 {
			return
		}
		if host, strict := view.StrictAddress(network, ports); strict {
			found = append(found, breach{
				path: path, value: address, at: fmt.Sprint(ports.Numbers), host: host,
				must: "not contain the ClusterIP of a strict Service on a port of that Service",
			})
		}
	}
	for i, address := range o.ServiceEntry.Addresses {
		claim(address, "spec", "addresses", strconv.Itoa(i))
	}
	if len(o.ServiceEntry.Addresses) > 0 {
		return found
	}
	for i, address := range o.ServiceEntry.Status.Addresses {
		claim(address.Value, "status", "addresses", strconv.Itoa(i), "value")
	}
	return found
}

// claimedPorts returns the ports of Services that a ServiceEntry takes by an address of theirs, and by a network.
func claimedPorts(o *object.Object, view *policy.View) (one, several policy.Ports) {
	several.HTTP = true
	for _, p := range o.ServiceEntry.Ports {
		if p.Transport() != object.TransportNone {
			one.Numbers = append(one.Numbers, p.Number)
		}
	}
	for _, p := range openPorts(o, view) {
		several.Numbers = append(several.Numbers, p.Number)
	}
	slices.Sort(one.Numbers)
	slices.Sort(several.Numbers)
	return one, several
}
