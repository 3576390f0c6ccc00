package search

import (
	"github.com/meshfence/meshfence/policy"
)

// kubernetes makes up a request for an object of Kubernetes.
func (g *generator) kubernetes() Step {
	n, s := g.pools.service()
	switch g.IntN(9) {
	case 8: // a Namespace is labelled
		return Step{Object: toObject(map[string]any{
			"apiVersion": "v1", "kind": policy.KindNamespace,
			"metadata": map[string]any{"name": pick(g.Rand, g.pools.base.Namespaces), "labels": map[string]any{policy.EnforcementLabel: pick(g.Rand, policy.Enforcements())}},
		})}
	case 0, 1, 2, 3: // a Service is changed
		o := toObject(g.pools.base.service(near, n))
		for range 1 + g.IntN(2) {
			g.alter(o)
		}
		return Step{Object: o}
	case 4: // a Service is made
		o := toObject(g.pools.base.service(near, n))
		namespace := pick(g.Rand, g.pools.base.Namespaces)
		o.metadata()["namespace"], o.metadata()["name"] = namespace, "own"
		o.spec()["clusterIP"], o.spec()["clusterIPs"] = "10.96.1.1", []any{"10.96.1.1"}
		o.metadata()["annotations"] = map[string]any{policy.FenceKey: pick(g.Rand, policy.Fences())}
		for range g.IntN(2) {
			g.alter(o)
		}
		return Step{Object: o}
	case 5: // a Pod gets another label
		o := toObject(g.pools.base.pod(near, n))
		key := g.pools.labelKey()
		labels, _ := o.metadata()["labels"].(map[string]any)
		labels[key] = g.pools.labelValue(key)
		return Step{Object: o}
	case 6: // an EndpointSlice is made by hand
		o := toObject(g.pools.base.slice(near, n))
		o.metadata()["name"] = s.Name + "-2"
		endpoints, _ := o["endpoints"].([]any)
		if first, ok := endpoints[0].(map[string]any); ok {
			first["addresses"] = []any{g.pools.bind("address")}
			delete(first, "targetRef")
		}
		return Step{Object: o}
	}
	return Step{Object: toObject(g.pools.base.service(near, n)), Delete: true}
}

// alter changes one field of a Service.
func (g *generator) alter(o Object) {
	spec := o.spec()
	annotations, _ := o.metadata()["annotations"].(map[string]any)
	if annotations == nil {
		annotations = map[string]any{}
		o.metadata()["annotations"] = annotations
	}
	switch g.IntN(8) {
	case 0, 1:
		annotations["networking.istio.io/exportTo"] = g.pools.visibility()
	case 2:
		annotations[policy.FenceKey] = pick(g.Rand, policy.Fences())
	case 3:
		key := g.pools.labelKey()
		spec["selector"] = map[string]any{key: g.pools.labelValue(key)}
	case 4:
		kind := pick(g.Rand, portKinds())
		ports, _ := spec["ports"].([]any)
		spec["ports"] = append(ports, map[string]any{"name": "p" + kind.Name, "port": float64(g.pools.portNumber() + 1), "protocol": "TCP"})
	case 5:
		spec["externalIPs"] = []any{g.pools.address()}
	case 6:
		annotations["networking.istio.io/traffic-distribution"] = "PreferClose"
	case 7:
		o.metadata()["labels"] = map[string]any{g.pools.labelKey(): "elsewhere"}
	}
}

func (g *generator) changeKubernetes(o Object) (Object, bool) {
	if o.Kind() != policy.KindService {
		return nil, false
	}
	next := o.clone()
	g.alter(next)
	return next, true
}
