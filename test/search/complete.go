package search

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
)

// halfIP is the address that a Service gets which has none.
const halfIP = "10.96.1.3"

// comingIP is that of a Service that may come.
const comingIP = "10.96.1.4"

// completion is what makes a world whole around a step, and the step in it.
type completion struct {
	step Step
	more []Step
}

// completions complete a world in which a step was stored of which something was said, each further than the one before. In
// the first everything exists that the object names (halves). In the second it has endpoints elsewhere that pass for what is
// here, because neither an address nor a destination says which cluster it is in, and the strict hosts exist, and have the
// ports that it speaks of, as what it leads to has. In the others one thing more is so: what clients know, which of two objects
// is older, or which clients a route is for (further.go).
func (p *product) completions(step Step, f leak.Finding) []completion {
	o := p.stored[step.Object.Key()].Object
	if step.Delete || o == nil {
		return nil
	}
	all := []completion{{step, p.halves(o)}}
	whole := completion{step, p.ported(o, f, p.halves(o))}
	if !step.Status {
		whole.step.Object = elsewhere(step.Object)
	}
	all = append(all, whole)
	with := func(step Step, more ...[]Step) {
		all = append(all, completion{step, slices.Concat(whole.more, slices.Concat(more...))})
	}
	switch o.Kind() {
	case object.KindServiceEntry:
		with(whole.step, p.narrowed(o.Namespace()+"/*"))
		with(whole.step, p.again(f, whole.more))
		with(whole.step, p.hidden(f, whole.more))
		with(whole.step, p.narrowed(importing(o)...))
	case object.KindVirtualService:
		with(whole.step, p.narrowed(o.Namespace()+"/*"))
		met := whole.step
		met.Object = forAll(met.Object, f.Path)
		with(met, p.open(o))
		with(met, p.open(o), p.narrowed(o.Namespace()+"/*"))
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
		if resolves := text(spec["resolution"]); spec["addresses"] != nil && (resolves == "" || resolves == "NONE") {
			spec["addresses"] = []any{foreignIP}
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

// ported adds to what was made up that strict hosts have the ports that an object speaks of, and that the Services that it leads to
// have these, an address, and an endpoint elsewhere.
func (p *product) ported(o Object, f leak.Finding, halves []Step) []Step {
	w := &whole{product: p, halves: halves, services: map[string]Object{}}
	var numbers []float64
	for _, fqdn := range f.Host.Hosts() {
		service := w.service(fqdn)
		if service == nil {
			service = w.make(fqdn)
		}
		if service == nil {
			continue
		}
		withPorts(service, spokenOf(o, f.Path))
		numbers = append(numbers, numbersOf(service)...)
	}
	if len(gatewaysOf(o)) > 0 {
		numbers = append(numbers, httpServer, tlsServer, tcpServer)
	}
	for _, d := range destinationsOf(o.spec(), "") {
		fqdn := hostname.Resolve(text(d["host"]), o.Namespace(), domain)
		wanted, service := portsOf(d, numbers), w.service(fqdn)
		switch {
		case slices.Contains(p.strict(), fqdn):
		case service == nil: // what was made up for it may lack a port
			w.beside(fqdn, wanted)
		default:
			withPorts(service, wanted)
			if spec := service.spec(); spec["clusterIP"] == corev1.ClusterIPNone { // to a headless one nothing is led
				spec["clusterIP"], spec["clusterIPs"] = halfIP, []any{halfIP}
			}
			w.led = append(w.led, fqdn)
		}
	}
	return w.steps()
}

// whole is what is made up around an object.
type whole struct {
	product  *product
	halves   []Step
	services map[string]Object
	// led are the hosts that need an endpoint elsewhere.
	led []string
}

// service returns a Service of the near cluster, to be changed; nil where there is none.
func (w *whole) service(fqdn string) Object {
	if service, ok := w.services[fqdn]; ok {
		return service
	}
	host, ok := hostname.Parse(fqdn, domain)
	exists, known := w.product.stored[object.Key{Kind: object.KindService, Namespace: host.Namespace, Name: host.Name}]
	if !ok || !known {
		return nil
	}
	w.services[fqdn] = exists.clone()
	return w.services[fqdn]
}

// make makes up a Service of a host that may come, with the fence that it would have; nil where that is no host of a Service.
func (w *whole) make(fqdn string) Object {
	host, ok := hostname.Parse(fqdn, domain)
	if !ok {
		return nil
	}
	w.services[fqdn] = toObject(map[string]any{
		"apiVersion": "v1", "kind": object.KindService, "metadata": map[string]any{"namespace": host.Namespace, "name": host.Name},
		"spec": map[string]any{"clusterIP": comingIP, "clusterIPs": []any{comingIP}, "selector": map[string]any{"app": host.Name}, "ports": []any{}},
	})
	return w.services[fqdn]
}

// beside gives a ServiceEntry that was made up for a host the ports that it lacks.
func (w *whole) beside(fqdn string, ports []spoken) {
	for _, half := range w.halves {
		spec := half.Object.spec()
		if half.Object.Kind() != object.KindServiceEntry || !slices.Contains(texts(spec["hosts"]), fqdn) {
			continue
		}
		list, _ := spec["ports"].([]any)
		for _, port := range ports {
			if !slices.ContainsFunc(list, func(item any) bool { of, _ := item.(map[string]any); return of["number"] == port.number }) {
				list = append(list, map[string]any{"number": port.number, "name": fmt.Sprintf("half-%v", port.number), "protocol": "HTTP"})
			}
		}
		spec["ports"] = list
	}
}

// steps returns what was made up, and what of Services has changed.
func (w *whole) steps() []Step {
	steps := w.halves
	for _, fqdn := range slices.Sorted(maps.Keys(w.services)) {
		service := w.services[fqdn]
		if string(service.raw()) != string(w.product.stored[service.Key()].raw()) {
			steps = append(steps, Step{Object: service})
		}
		if slices.Contains(w.led, fqdn) {
			steps = append(steps, sliceFor(service))
		}
	}
	return steps
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
