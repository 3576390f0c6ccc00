package search

import (
	"slices"

	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// kubernetesKinds are the kinds of Kubernetes that are made up; one that is listed more often is made more often.
func kubernetesKinds() []string {
	return []string{
		object.KindService, object.KindService, object.KindService, object.KindService, object.KindService,
		object.KindPod, object.KindPod, object.KindEndpointSlice, object.KindNamespace,
	}
}

// kubernetes makes up a request for an object of Kubernetes, of any kind if the one given is empty.
func (g *generator) kubernetes(kind string) Step {
	if kind == "" {
		kind = pick(g.Rand, kubernetesKinds())
	}
	switch kind {
	case object.KindPod:
		return g.pod()
	case object.KindEndpointSlice:
		return Step{Object: g.slice()}
	case object.KindNamespace: // it is labelled
		labels := map[string]any{policy.EnforcementLabel: pick(g.Rand, policy.Enforcements())}
		if chance(g.Rand, 0.3) {
			labels = g.pools.waypoint()
		}
		return Step{Object: toObject(map[string]any{
			"apiVersion": "v1", "kind": object.KindNamespace,
			"metadata": map[string]any{"name": pick(g.Rand, g.pools.base.Namespaces), "labels": labels},
		})}
	}
	return g.service()
}

// service makes, changes or deletes a Service.
func (g *generator) service() Step {
	n, _ := g.pools.service()
	o := toObject(g.pools.base.service(near, n))
	switch g.IntN(9) {
	case 0: // one goes
		return Step{Object: o, Delete: true}
	case 1: // somebody writes its status
		return Step{Status: true, Object: Object{"apiVersion": o["apiVersion"], "kind": o.Kind(), "metadata": o["metadata"], "status": map[string]any{
			"loadBalancer": map[string]any{"ingress": []any{map[string]any{"ip": g.pools.address()}}},
		}}}
	case 2, 3, 4: // one is made
		o.metadata()["namespace"], o.metadata()["name"] = g.pools.namespace(), "own"
		o.spec()["clusterIP"], o.spec()["clusterIPs"] = ownIP, []any{ownIP}
		o.metadata()["annotations"] = map[string]any{policy.FenceKey: pick(g.Rand, policy.Fences())}
		if chance(g.Rand, 0.5) {
			key := g.pools.labelKey()
			o.spec()["selector"] = map[string]any{key: g.pools.labelValue(key)}
		}
		for range g.IntN(2) {
			g.alter(o)
		}
		g.pools.learn(o)
		return Step{Object: o}
	}
	for range 1 + g.IntN(2) {
		g.alter(o)
	}
	return Step{Object: o}
}

// ownIP is the address of the Service that a user makes.
const ownIP = "10.96.1.1"

// pod gives a Pod another label, by itself or by its status.
func (g *generator) pod() Step {
	n, _ := g.pools.service()
	o := toObject(g.pools.base.pod(near, n))
	key := g.pools.labelKey()
	labels, _ := o.metadata()["labels"].(map[string]any)
	labels[key] = g.pools.labelValue(key)
	return Step{Object: o, Status: chance(g.Rand, 0.5)}
}

// slice makes up an EndpointSlice that is written by hand.
func (g *generator) slice() Object {
	n, s := g.pools.service()
	o := toObject(g.pools.base.slice(near, n))
	o.metadata()["name"], o.metadata()["labels"] = s.Name+"-2", map[string]any{discoveryv1.LabelServiceName: s.Name}
	endpoints, _ := o["endpoints"].([]any)
	if first, ok := endpoints[0].(map[string]any); ok {
		first["addresses"] = []any{g.pools.bind("address")}
		delete(first, "targetRef")
	}
	return o
}

// alter changes one field of a Service.
func (g *generator) alter(o Object) {
	spec := o.spec()
	annotations, _ := o.metadata()["annotations"].(map[string]any)
	if annotations == nil {
		annotations = map[string]any{}
		o.metadata()["annotations"] = annotations
	}
	switch g.IntN(14) {
	case 0, 1:
		annotations["networking.istio.io/exportTo"] = g.pools.visibility()
	case 2, 3, 10:
		annotations[policy.FenceKey] = pick(g.Rand, policy.Fences())
	case 4:
		key := g.pools.labelKey()
		spec["selector"] = map[string]any{key: g.pools.labelValue(key)}
	case 5:
		kind := pick(g.Rand, portKinds())
		ports, _ := spec["ports"].([]any)
		spec["ports"] = append(slices.Clone(ports), map[string]any{"name": "p" + kind.Name, "port": float64(g.pools.portNumber() + 1), "protocol": "TCP"})
	case 6:
		spec["externalIPs"] = []any{g.pools.address()}
	case 7:
		annotations["networking.istio.io/traffic-distribution"] = g.pools.distribution()
	case 8:
		key := g.pools.labelKey()
		o.metadata()["labels"] = map[string]any{key: g.pools.labelValue(key)}
	case 9, 11: // a gateway of a network
		o.metadata()["labels"] = map[string]any{networkLabel: g.pools.labelValue(networkLabel)}
		spec["externalIPs"] = []any{g.pools.address()}
	case 12:
		o.metadata()["labels"] = g.pools.waypoint()
	case 13:
		spec["trafficDistribution"] = g.pools.distribution()
	}
}

func (g *generator) changeKubernetes(o Object) (Object, bool) {
	if o.Kind() != object.KindService {
		return nil, false
	}
	next := o.clone()
	g.alter(next)
	return next, true
}
