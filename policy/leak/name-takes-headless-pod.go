package leak

import (
	"strconv"
	"strings"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// nameTakesHeadlessPod warns of what takes the connections to a Pod of a strict headless Service, which clients ask by its
// own address or name [D18]: the address of a Pod in a ServiceEntry or its status, in the hosts of a VirtualService or as the
// bind of a Sidecar's listener, a network on a port of HTTP, and a name below that of the Service. Which Pod has which address is asked of the API server, and not
// whether that Pod is one of the Service: a Pod that gets the address later is not seen.
func nameTakesHeadlessPod() Rule {
	return Rule{
		ID:      "name-takes-headless-pod",
		Summary: "No object should claim the address or the name of a Pod of a strict headless Service.",
		Why: "Clients ask each Pod of a headless Service by its own address or name. An object that claims it gets " +
			"their requests, and of two listeners for an address the older one. A Pod that gets the address later " +
			"is not seen.",
		Fix:       "Choose another address or name, or send what comes to it to strict hosts alone.",
		Rows:      []string{"D18", "I10"},
		Kinds:     []string{object.KindServiceEntry, object.KindVirtualService, object.KindSidecar},
		Severity:  Warn,
		Otherwise: "what clients send to that Pod goes where this object leads",
		Instead:   "choose another address or name, or send what comes to it to strict hosts alone",
		check: func(o Write, view *policy.View) []breach {
			switch {
			case o.ServiceEntry != nil:
				return podsOfEntry(o.Object, view)
			case o.VirtualService != nil:
				return podsOfRoutes(o.Object, view)
			}
			return podsOfListeners(o.Object, view)
		},
	}
}

// podsOfEntry judges a ServiceEntry. One that resolves nothing lets connections go on to where they were going.
func podsOfEntry(o *object.Object, view *policy.View) []breach {
	if !o.ServiceEntry.Resolves() && !resolvedBeside(o, view) {
		return nil
	}
	ports, open := claimedPorts(o, view)
	if len(ports.Numbers) == 0 {
		return nil
	}
	var found []breach
	for i, address := range o.ServiceEntry.Addresses {
		path := []string{"spec", "addresses", strconv.Itoa(i)}
		found = append(found, podAt(address, ports, view, path...)...)
		found = append(found, podsIn(address, open, view, path...)...)
	}
	if len(o.ServiceEntry.Addresses) == 0 {
		for i, address := range o.ServiceEntry.Status.Addresses {
			found = append(found, podAt(address.Value, ports, view, "status", "addresses", strconv.Itoa(i), "value")...)
		}
	}
	for i, name := range o.ServiceEntry.Hosts {
		found = append(found, podNamed(name, view, i)...)
	}
	return found
}

// podsOfRoutes judges a VirtualService.
func podsOfRoutes(o *object.Object, view *policy.View) []breach {
	if len(o.VirtualService.HTTP) == 0 {
		return nil
	}
	var found []breach
	for i, name := range o.VirtualService.Hosts {
		found = append(found, podAt(name, policy.Ports{HTTP: true}, view, "spec", "hosts", strconv.Itoa(i))...)
		found = append(found, podNamed(name, view, i)...)
	}
	if len(found) > 0 && !takesNames(o, view) {
		return nil
	}
	return found
}

// podsOfListeners judges a Sidecar.
func podsOfListeners(o *object.Object, view *policy.View) []breach {
	var found []breach
	for i, e := range o.Sidecar.Egress {
		if e.Everywhere() || importsStrict(e.Hosts, view) {
			continue
		}
		ports := policy.Ports{}
		if e.Port != nil {
			ports = on(e.Port.Number)
		}
		found = append(found, podAt(e.Bind, ports, view, "spec", "egress", strconv.Itoa(i), "bind")...)
	}
	return found
}

// podAt reports an address that is that of a Pod, where clients ask Pods of strict Services by their addresses.
func podAt(text string, ports policy.Ports, view *policy.View, path ...string) []breach {
	network, ok := object.Network(text)
	if !ok || !network.IsSingleIP() || view.ServiceAddress(network.Addr()) {
		return nil
	}
	host, strict := view.StrictHeadless(ports)
	if !strict || !view.PodAt(network.Addr()) {
		return nil
	}
	return []breach{{path: path, value: text, host: host, must: "not be the address of a Pod while a strict Service without a ClusterIP has the port"}}
}

// podsIn reports a network on an open port that is one of HTTP of a strict Service without a ClusterIP, in which its Pods
// may be: sidecars have no listener for each Pod there, so that the filter chain of the network is the most specific one.
func podsIn(text string, open policy.Ports, view *policy.View, path ...string) []breach {
	network, ok := object.Network(text)
	if !ok || network.IsSingleIP() || len(open.Numbers) == 0 {
		return nil
	}
	host, strict := view.StrictHeadless(open)
	if !strict {
		return nil
	}
	return []breach{{
		path: path, value: text, host: host,
		must: "not be a network with Pods of a strict Service without a ClusterIP that has the port for HTTP",
	}}
}

// podNamed reports a host that is a name of a Pod of a strict headless Service.
func podNamed(name string, view *policy.View, index int) []breach {
	_, service, _ := strings.Cut(strings.ToLower(name), ".")
	parsed, ok := hostname.Parse(service, view.Config().ClusterDomain)
	if !ok || !view.Headless(parsed) {
		return nil
	}
	match := view.Match(service)
	if !match.Has(policy.Strict) {
		return nil
	}
	return []breach{{
		path: []string{"spec", "hosts", strconv.Itoa(index)}, value: name, host: match.Host(policy.Strict),
		must: "not be a name of the Pods of a strict Service without a ClusterIP",
	}}
}
