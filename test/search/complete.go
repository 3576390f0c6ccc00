package search

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
)

// halfIP is the address that a Service gets which has none.
const halfIP = "10.96.1.3"

// completion is what makes a world whole around a step, and the step in it.
type completion struct {
	step Step
	more []Step
}

// completions complete a world in which a step was stored of which something was said, each further than the one before. In
// the first everything exists that the object names (halves). In the second it has endpoints elsewhere that pass for what is
// here, because neither an address nor a destination says which cluster it is in, and the strict hosts, and where the object
// leads, have the ports that it speaks of. In the third, clients know no other namespace than that of the object.
func (p *product) completions(step Step, f leak.Finding) []completion {
	o := p.stored[step.Object.Key()].Object
	if step.Delete || o == nil {
		return nil
	}
	halves := p.halves(o)
	all := []completion{{step, halves}}
	whole := completion{step, slices.Concat(halves, p.ported(o, f, halves))}
	if !step.Status {
		whole.step.Object = elsewhere(step.Object)
	}
	all = append(all, whole)
	if kind := o.Kind(); kind == object.KindServiceEntry || kind == object.KindVirtualService {
		all = append(all, completion{whole.step, slices.Concat(whole.more, p.narrowed(o.Namespace()))})
	}
	return slices.DeleteFunc(all, func(c completion) bool {
		return len(c.more) == 0 && string(c.step.Object.raw()) == string(step.Object.raw())
	})
}

// elsewhere returns an object whose endpoints are all in the other cluster, and pass for what is here.
func elsewhere(o Object) Object {
	o = o.clone()
	spec := o.spec()
	switch o.Kind() {
	case object.KindWorkloadEntry:
		spec["address"], spec["locality"] = foreignIP, region(near)+"/zone"
	case object.KindServiceEntry:
		if spec["resolution"] == "STATIC" && spec["endpoints"] == nil && spec["workloadSelector"] == nil {
			spec["endpoints"] = []any{map[string]any{}}
		}
		each(spec["endpoints"], func(e map[string]any) { e["address"], e["locality"] = foreignIP, region(near)+"/zone" })
	case object.KindEndpointSlice:
		service := o.strings("labels")[discoveryv1.LabelServiceName]
		each(o["endpoints"], func(e map[string]any) {
			e["addresses"] = []any{foreignIP}
			e["targetRef"] = map[string]any{"kind": object.KindPod, "namespace": o.Namespace(), "name": service}
		})
	case object.KindService:
		if spec["externalIPs"] != nil {
			spec["externalIPs"] = []any{foreignIP}
		}
	}
	return o
}

// spoken is a port that an object speaks of; without a number it is any of its protocol.
type spoken struct {
	number   float64
	name     string
	protocol string
}

// ported gives strict hosts the ports that an object speaks of, and the Services that it leads to these and an endpoint
// elsewhere for each.
func (p *product) ported(o Object, f leak.Finding, halves []Step) []Step {
	var steps []Step
	ports := spokenOf(o, f.Path)
	var numbers []float64
	for _, fqdn := range f.Host.Hosts() {
		service, changed := p.withPorts(fqdn, ports)
		numbers = append(numbers, numbersOf(service)...)
		if changed {
			steps = append(steps, Step{Object: service})
		}
	}
	for _, d := range destinationsOf(o.spec(), "") {
		fqdn := hostname.Resolve(text(d["host"]), o.Namespace(), domain)
		if slices.Contains(p.strict(), fqdn) {
			continue
		}
		wanted := portsOf(d, numbers)
		service, changed := p.withPorts(fqdn, wanted)
		if spec := service.spec(); spec["clusterIP"] == corev1.ClusterIPNone { // to a headless one nothing is led
			spec["clusterIP"], spec["clusterIPs"], changed = halfIP, []any{halfIP}, true
		}
		switch {
		case service == nil: // what was made up for it may lack a port
			steps = append(steps, beside(halves, fqdn, wanted)...)
			continue
		case changed:
			steps = append(steps, Step{Object: service})
		}
		steps = append(steps, sliceFor(service))
	}
	return steps
}

// spokenOf lists the ports that an object speaks of; a VirtualService does so in the route that a finding is about.
func spokenOf(o Object, at object.Path) []spoken {
	var ports []spoken
	add := func(port map[string]any) {
		if number, ok := port["number"].(float64); ok {
			ports = append(ports, spoken{number, text(port["name"]), strings.ToLower(text(port["protocol"]))})
		}
	}
	spec := o.spec()
	switch o.Kind() {
	case object.KindServiceEntry:
		each(spec["ports"], add)
	case object.KindSidecar:
		each(spec["egress"], func(listener map[string]any) {
			port, _ := listener["port"].(map[string]any)
			add(port)
		})
	case object.KindVirtualService:
		if len(at) < 3 {
			return nil
		}
		protocol := at[1]
		ports = append(ports, spoken{0, "", protocol})
		n := 0
		each(spec[protocol], func(route map[string]any) {
			if fmt.Sprint(n) == at[2] {
				each(route["match"], func(match map[string]any) {
					if number, ok := match["port"].(float64); ok {
						ports = append(ports, spoken{number, "", protocol})
					}
				})
			}
			n++
		})
	}
	return ports
}

// each does something with every item of a list.
func each(list any, do func(map[string]any)) {
	items, _ := list.([]any)
	for _, item := range items {
		if of, ok := item.(map[string]any); ok {
			do(of)
		}
	}
}

// withPorts returns a Service of the near cluster with further ports, and reports whether it lacked any; nil where there is none.
func (p *product) withPorts(fqdn string, ports []spoken) (service Object, changed bool) {
	host, ok := hostname.Parse(fqdn, domain)
	if !ok {
		return nil, false
	}
	exists, ok := p.stored[object.Key{Kind: object.KindService, Namespace: host.Namespace, Name: host.Name}]
	if !ok {
		return nil, false
	}
	service = exists.clone()
	list, _ := service.spec()["ports"].([]any)
	for _, port := range ports {
		if next, ok := withPort(list, port); ok {
			list, changed = next, true
		}
	}
	service.spec()["ports"] = list
	return service, changed
}

// withPort adds a port to those of a Service, in the place of one with the same number. Of a protocol alone it adds one
// if there is none.
func withPort(list []any, port spoken) ([]any, bool) {
	next := slices.Clone(list)
	if port.number == 0 {
		for _, item := range list {
			if of, ok := item.(map[string]any); ok && protocolOf(of) == port.protocol {
				return nil, false
			}
		}
		port.number = map[string]float64{"http": 19080, "tls": 19443, "tcp": 19090}[port.protocol]
	}
	name := port.name
	if name == "" {
		name = fmt.Sprintf("%s-%v", port.protocol, port.number)
	}
	added := map[string]any{"name": name, "port": port.number, "protocol": "TCP", "appProtocol": port.protocol}
	for i, item := range next {
		of, ok := item.(map[string]any)
		switch {
		case !ok:
		case of["port"] == added["port"] && (port.protocol == "" || protocolOf(of) == port.protocol):
			return nil, false
		case of["port"] == added["port"]:
			next = slices.Delete(next, i, i+1)
			return append(next, added), true
		}
	}
	if port.protocol == "" {
		delete(added, "appProtocol")
	}
	return append(next, added), true
}

// protocolOf returns what a port of a Service says of its protocol.
func protocolOf(port map[string]any) string {
	if said := text(port["appProtocol"]); said != "" {
		return said
	}
	first, _, _ := strings.Cut(text(port["name"]), "-")
	return first
}

func numbersOf(service Object) []float64 {
	var numbers []float64
	each(service.spec()["ports"], func(port map[string]any) {
		if number, ok := port["port"].(float64); ok {
			numbers = append(numbers, number)
		}
	})
	return numbers
}

// portsOf lists the ports that a destination leads to: its own, or any of the host that is led there.
func portsOf(destination map[string]any, numbers []float64) []spoken {
	port, _ := destination["port"].(map[string]any)
	if number, ok := port["number"].(float64); ok {
		return []spoken{{number: number}}
	}
	var ports []spoken
	for _, number := range numbers {
		ports = append(ports, spoken{number: number})
	}
	return ports
}

// destinationsOf lists the destinations within a tree, in the order of fields.
func destinationsOf(node any, key string) []map[string]any {
	var found []map[string]any
	switch node := node.(type) {
	case []any:
		for _, v := range node {
			found = append(found, destinationsOf(v, key)...)
		}
	case map[string]any:
		if slices.Contains([]string{"destination", "mirror", "egressProxy"}, key) && text(node["host"]) != "" {
			found = append(found, node)
		}
		for _, k := range slices.Sorted(maps.Keys(node)) {
			found = append(found, destinationsOf(node[k], k)...)
		}
	}
	return found
}

// beside gives a ServiceEntry that was made up for a host the ports that it lacks.
func beside(halves []Step, fqdn string, ports []spoken) []Step {
	for _, half := range halves {
		if half.Object.Kind() != object.KindServiceEntry || !slices.Contains(texts(half.Object.spec()["hosts"]), fqdn) {
			continue
		}
		o := half.Object.clone()
		list, _ := o.spec()["ports"].([]any)
		for _, port := range ports {
			if !slices.ContainsFunc(list, func(item any) bool { of, _ := item.(map[string]any); return of["number"] == port.number }) {
				list = append(list, map[string]any{"number": port.number, "name": fmt.Sprintf("half-%v", port.number), "protocol": "HTTP"})
			}
		}
		o.spec()["ports"] = list
		return []Step{{Object: o}}
	}
	return nil
}

// sliceFor makes up an endpoint elsewhere for every port of a Service.
func sliceFor(service Object) Step {
	var ports []any
	each(service.spec()["ports"], func(port map[string]any) {
		ports = append(ports, map[string]any{"name": port["name"], "port": port["port"], "protocol": "TCP"})
	})
	return Step{Object: toObject(map[string]any{
		"apiVersion": "discovery.k8s.io/v1", "kind": object.KindEndpointSlice, "addressType": "IPv4",
		"metadata":  map[string]any{"namespace": service.Namespace(), "name": service.Name() + "-half", "labels": map[string]any{discoveryv1.LabelServiceName: service.Name()}},
		"endpoints": []any{map[string]any{"addresses": []any{foreignIP}, "conditions": map[string]any{"ready": true}}},
		"ports":     ports,
	})}
}

// narrowed gives each namespace without a Sidecar one for hosts of a namespace alone.
func (p *product) narrowed(namespace string) []Step {
	var steps []Step
	for _, client := range p.base.Namespaces {
		if slices.ContainsFunc(p.keys(object.KindSidecar), func(k object.Key) bool { return k.Namespace == client }) {
			continue
		}
		steps = append(steps, Step{Object: toObject(map[string]any{
			"apiVersion": "networking.istio.io/v1", "kind": object.KindSidecar, "metadata": map[string]any{"namespace": client, "name": "half"},
			"spec": map[string]any{"egress": []any{map[string]any{"hosts": []any{namespace + "/*"}}}},
		})})
	}
	return steps
}
