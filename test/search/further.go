package search

import (
	"slices"
	"strconv"

	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
)

// narrowed gives each namespace one Sidecar, which imports these hosts alone.
func (p *product) narrowed(hosts ...string) []Step {
	var steps []Step
	for _, k := range p.keys(object.KindSidecar) {
		steps = append(steps, Step{Object: p.stored[k].Object, Delete: true})
	}
	for _, client := range p.base.Namespaces {
		steps = append(steps, Step{Object: toObject(map[string]any{
			"apiVersion": "networking.istio.io/v1", "kind": object.KindSidecar, "metadata": map[string]any{"namespace": client, "name": "half"},
			"spec": map[string]any{"egress": []any{map[string]any{"hosts": hosts}}},
		})})
	}
	return steps
}

// importing returns the hosts of a ServiceEntry as a Sidecar imports them.
func importing(o Object) []string {
	hosts := texts(o.spec()["hosts"])
	for i, host := range hosts {
		hosts[i] = o.Namespace() + "/" + host
	}
	return hosts
}

// about lists the Services that a finding is about, as some steps leave them.
func (p *product) about(f leak.Finding, after []Step) []Object {
	var services []Object
	for _, fqdn := range f.Host.Hosts() {
		host, _ := hostname.Parse(fqdn, domain)
		o, ok := p.stored[object.Key{Kind: object.KindService, Namespace: host.Namespace, Name: host.Name}]
		if !ok {
			continue
		}
		for _, step := range after {
			if step.Object.Key() == o.Key() {
				o.Object = step.Object
			}
		}
		services = append(services, o.Object)
	}
	return services
}

// again has somebody delete the Services that a finding is about and make them again: of two objects for a host Istio often
// takes the older one.
func (p *product) again(f leak.Finding, after []Step) []Step {
	var steps []Step
	for _, service := range p.about(f, after) {
		steps = append(steps, Step{Object: service, Delete: true}, Step{Object: service})
	}
	return steps
}

// hidden has the Services that a finding is about be known in their own namespace alone.
func (p *product) hidden(f leak.Finding, after []Step) []Step {
	var steps []Step
	for _, service := range p.about(f, after) {
		service = service.clone()
		annotations, _ := service.metadata()["annotations"].(map[string]any)
		if annotations == nil {
			annotations = map[string]any{}
			service.metadata()["annotations"] = annotations
		}
		annotations["networking.istio.io/exportTo"] = "."
		steps = append(steps, Step{Object: service})
	}
	return steps
}

// forAll returns a VirtualService whose route at a path is for every client: the clients that are asked for have one label, and are
// in some namespaces.
func forAll(o Object, at object.Path) Object {
	if len(at) < 3 {
		return o
	}
	o = o.clone()
	routes, _ := o.spec()[at[1]].([]any)
	n, err := strconv.Atoi(at[2])
	if err != nil || n >= len(routes) {
		return o
	}
	route, _ := routes[n].(map[string]any)
	each(route["match"], func(match map[string]any) {
		delete(match, "sourceLabels")
		delete(match, "sourceNamespace")
	})
	return o
}

// open has the gateways that a VirtualService names be those that are asked, and let everything in.
func (p *product) open(o Object) []Step {
	h := &halves{product: &product{base: p.base}, namespace: o.Namespace()}
	for _, name := range gatewaysOf(o) {
		h.gateway(name)
	}
	return h.steps
}

// gatewaysOf lists the gateways that a VirtualService names, in its routes too.
func gatewaysOf(o Object) []string {
	names := texts(o.spec()["gateways"])
	for _, section := range []string{"http", "tcp", "tls"} {
		each(o.spec()[section], func(route map[string]any) {
			each(route["match"], func(match map[string]any) { names = append(names, texts(match["gateways"])...) })
		})
	}
	slices.Sort(names)
	return slices.Compact(names)
}
