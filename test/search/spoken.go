package search

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/meshfence/meshfence/policy/object"
)

// spoken is a port that an object speaks of; without a number it is any of its protocol.
type spoken struct {
	number   float64
	name     string
	protocol string
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
		if protocol == "http" { // on which a sidecar knows hosts that are no Service's
			ports = append(ports, spoken{80, "", protocol})
		}
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

// withPorts gives a Service further ports.
func withPorts(service Object, ports []spoken) {
	list, _ := service.spec()["ports"].([]any)
	for _, port := range ports {
		list = withPort(list, port)
	}
	service.spec()["ports"] = list
}

// withPort adds a port to those of a Service, in the place of one with the same number. Of a protocol alone it adds one
// if there is none.
func withPort(list []any, port spoken) []any {
	for i, item := range list {
		of, ok := item.(map[string]any)
		switch {
		case !ok || port.number != 0 && of["port"] != port.number:
		case port.number != 0 && port.protocol == "", protocolOf(of) == port.protocol && (port.name == "" || of["name"] == port.name):
			return list
		case port.number != 0:
			return withPort(slices.Delete(slices.Clone(list), i, i+1), port)
		}
	}
	if port.number == 0 {
		port.number = map[string]float64{"http": 19080, "tls": 19443, "tcp": 19090}[port.protocol]
	}
	added := map[string]any{"name": cmp.Or(port.name, fmt.Sprintf("half-%v", port.number)), "port": port.number, "protocol": "TCP"}
	if port.protocol != "" {
		added["appProtocol"] = port.protocol
	}
	return append(slices.Clone(list), added)
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
