package search

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// halves makes up what an object names and what does not exist: destinations of routes and proxies, their subsets,
// Gateways, delegates, what the listeners of a Sidecar import, the workloads that are chosen, and gateways of networks.
// All of it leads out of the cluster where it can.
func (p *product) halves(o Object) []Step {
	h := &halves{product: p, namespace: o.Namespace()}
	h.named(map[string]any(o), "")
	h.network(o.strings("labels")[networkLabel])
	spec := o.spec()
	switch o.Kind() {
	case object.KindGateway:
		h.beyond(o.Key())
	case object.KindVirtualService:
		for _, name := range texts(spec["gateways"]) {
			h.gateway(name)
		}
		for _, k := range h.product.keys(object.KindGateway) {
			h.beyond(k)
		}
	case object.KindSidecar:
		h.namedByTLS()
		listeners, _ := spec["egress"].([]any)
		for _, l := range listeners {
			if listener, ok := l.(map[string]any); ok {
				h.imported(listener)
			}
		}
	case object.KindServiceEntry:
		selector, _ := spec["workloadSelector"].(map[string]any)
		h.workload(selector["labels"])
	case object.KindService:
		h.workload(selectorOf(o))
	case object.KindWorkloadGroup:
		of := map[string]any{}
		for _, field := range []string{"metadata", "template"} {
			part, _ := spec[field].(map[string]any)
			labels, _ := part["labels"].(map[string]any)
			maps.Copy(of, labels)
		}
		h.workload(of)
	}
	return h.steps
}

// halves are those of one object.
type halves struct {
	product   *product
	namespace string
	steps     []Step
}

func (h *halves) add(kind, namespace, name string, spec map[string]any) {
	key := object.Key{Kind: kind, Namespace: namespace, Name: name}
	if _, exists := h.product.stored[key]; exists || slices.ContainsFunc(h.steps, func(s Step) bool { return s.Object.Key() == key }) {
		return
	}
	h.steps = append(h.steps, Step{Object: toObject(map[string]any{
		"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": map[string]any{"namespace": namespace, "name": name}, "spec": spec,
	})})
}

// named goes through a tree for what names a destination.
func (h *halves) named(node any, key string) {
	switch node := node.(type) {
	case []any:
		for _, v := range node {
			h.named(v, key)
		}
	case map[string]any:
		network, _ := node["network"].(string)
		h.network(network)
		if labels, ok := node["labels"].(map[string]any); ok {
			h.network(text(labels[networkLabel]))
		}
		switch {
		case key == "delegate":
			h.delegate(node)
		case slices.Contains([]string{"destination", "mirror", "egressProxy"}, key) && text(node["host"]) != "":
			h.destination(node)
		}
		for k, v := range node {
			h.named(v, k)
		}
	}
}

func (h *halves) destination(d map[string]any) {
	fqdn := hostname.Resolve(text(d["host"]), h.namespace, domain)
	if !h.exists(fqdn) {
		port, _ := d["port"].(map[string]any)
		h.entry(fqdn, port["number"], "HTTP")
	}
	subset := text(d["subset"])
	if subset == "" || subset == policy.ReservedSubset || h.subset(fqdn, subset) {
		return
	}
	h.add(object.KindDestinationRule, h.namespace, "half-"+subset, map[string]any{
		"host": fqdn, "subsets": []any{map[string]any{"name": subset}}, // of all endpoints
	})
}

// exists reports whether there is a Service or ServiceEntry of a host.
func (h *halves) exists(fqdn string) bool {
	for _, s := range h.product.base.Services {
		if s.FQDN() == fqdn {
			return true
		}
	}
	for k, o := range h.product.stored {
		switch k.Kind {
		case object.KindService:
			if (hostname.Host{Namespace: k.Namespace, Name: k.Name}).FQDN(domain) == fqdn {
				return true
			}
		case object.KindServiceEntry:
			if slices.Contains(texts(o.spec()["hosts"]), fqdn) {
				return true
			}
		}
	}
	return false
}

// subset reports whether a rule for a host has a subset.
func (h *halves) subset(fqdn, name string) bool {
	for k, o := range h.product.stored {
		if k.Kind != object.KindDestinationRule || hostname.Resolve(text(o.spec()["host"]), k.Namespace, domain) != fqdn {
			continue
		}
		subsets, _ := o.spec()["subsets"].([]any)
		for _, s := range subsets {
			if of, ok := s.(map[string]any); ok && text(of["name"]) == name {
				return true
			}
		}
	}
	return false
}

// entry makes up a ServiceEntry of a host on a port, or on all ports of the base.
func (h *halves) entry(host string, port any, protocol string) {
	numbers := []any{port}
	if port == nil {
		numbers = nil
		for _, s := range h.product.base.Services {
			for _, p := range s.Ports {
				if !slices.Contains(numbers, any(float64(p.Number))) {
					numbers = append(numbers, float64(p.Number))
				}
			}
		}
	}
	var ports []any
	for i, n := range numbers {
		ports = append(ports, map[string]any{"number": n, "name": fmt.Sprintf("port-%d", i), "protocol": protocol})
	}
	name := strings.Trim(strings.NewReplacer("*", "any", ".", "-").Replace(host), "-")
	h.add(object.KindServiceEntry, h.namespace, "half-"+name, map[string]any{
		"hosts": []any{host}, "ports": ports, "resolution": "STATIC", "endpoints": []any{map[string]any{"address": foreignIP}},
	})
}

// gateway makes up a Gateway that lets everything in.
func (h *halves) gateway(name string) {
	if name == "mesh" {
		return
	}
	namespace, bare, ok := strings.Cut(name, "/")
	if !ok {
		namespace, bare = h.namespace, name
	}
	everything := []any{"*"}
	h.add(object.KindGateway, namespace, bare, map[string]any{
		"selector": map[string]any{"istio": gateways()[0]},
		"servers": []any{
			map[string]any{"port": map[string]any{"number": httpServer, "name": "http", "protocol": "HTTP"}, "hosts": everything},
			map[string]any{"port": map[string]any{"number": tlsServer, "name": "tls", "protocol": "TLS"}, "tls": map[string]any{"mode": "PASSTHROUGH"}, "hosts": everything},
			map[string]any{"port": map[string]any{"number": tcpServer, "name": "tcp", "protocol": "TCP"}, "hosts": everything},
		},
	})
}

// The ports of a Gateway that is made up. A destination without a port is sent there by the number.
const (
	httpServer = 80
	tlsServer  = 15443
	tcpServer  = 19091
)

// beyond makes up where a Gateway on the Pods of a Service leads.
func (h *halves) beyond(gateway object.Key) {
	if o := h.product.stored[gateway].Object; slices.Contains(gateways(), text(selectorOf(o)["istio"])) {
		return
	}
	h.entry("half.example.com", nil, "HTTP")
	to := []any{map[string]any{"destination": map[string]any{"host": "half.example.com"}}}
	h.add(object.KindVirtualService, gateway.Namespace, "half-"+gateway.Name, map[string]any{
		"hosts": []any{"*"}, "gateways": []any{gateway.Namespace + "/" + gateway.Name},
		"http": []any{map[string]any{"route": to}}, "tcp": []any{map[string]any{"route": to}},
	})
}

func selectorOf(o Object) map[string]any {
	selector, _ := o.spec()["selector"].(map[string]any)
	return selector
}

// network makes up the gateway of a network.
func (h *halves) network(name string) {
	if name == "" {
		return
	}
	const address = "10.96.1.2"
	step := Step{Object: toObject(map[string]any{
		"apiVersion": "v1", "kind": object.KindService,
		"metadata": map[string]any{"namespace": h.product.base.Namespaces[0], "name": "half-" + name, "labels": map[string]any{networkLabel: name}},
		"spec": map[string]any{
			"clusterIP": address, "clusterIPs": []any{address}, "externalIPs": []any{foreignIP},
			"ports": []any{map[string]any{"name": "tls", "port": 15443, "protocol": "TCP"}},
		},
	})}
	if !slices.ContainsFunc(h.steps, func(s Step) bool { return s.Object.Key() == step.Object.Key() }) {
		h.steps = append(h.steps, step)
	}
}

// delegate makes up a VirtualService that a route leaves the rest to.
func (h *halves) delegate(d map[string]any) {
	namespace := text(d["namespace"])
	if namespace == "" {
		namespace = h.namespace
	}
	h.entry("half.example.com", nil, "HTTP")
	h.add(object.KindVirtualService, namespace, text(d["name"]), map[string]any{
		"http": []any{map[string]any{"route": []any{map[string]any{"destination": map[string]any{"host": "half.example.com"}}}}},
	})
}

// namedByTLS makes up a VirtualService for each strict host that routes TLS by its name alone: an egress proxy takes the rest.
func (h *halves) namedByTLS() {
	for _, fqdn := range h.product.strict() {
		host, _ := hostname.Parse(fqdn, domain)
		h.add(object.KindVirtualService, host.Namespace, "half-"+host.Name, map[string]any{
			"hosts": []any{fqdn},
			"tls":   []any{map[string]any{"match": []any{map[string]any{"sniHosts": []any{fqdn}}}, "route": []any{map[string]any{"destination": map[string]any{"host": fqdn}}}}},
		})
	}
}

// imported makes up what a listener of a Sidecar with a port or an address of its own has hosts for.
func (h *halves) imported(listener map[string]any) {
	port, _ := listener["port"].(map[string]any)
	if port == nil && listener["bind"] == nil {
		return
	}
	for _, name := range texts(listener["hosts"]) {
		from, host, _ := strings.Cut(name, "/")
		switch from {
		case "~":
			continue
		case ".", "*":
			from = h.namespace
		}
		if strings.HasPrefix(host, "*") {
			host = "half.example.com"
		}
		if !h.exists(host) {
			of := *h
			of.namespace = from
			of.entry(host, port["number"], cmp.Or(text(port["protocol"]), "TCP"))
			h.steps = of.steps
		}
	}
}

func (h *halves) workload(labels any) {
	chosen, _ := labels.(map[string]any)
	if len(chosen) == 0 {
		return
	}
	h.add(object.KindWorkloadEntry, h.namespace, "half", map[string]any{"address": foreignIP, "labels": chosen, "locality": region(near) + "/zone"})
}
