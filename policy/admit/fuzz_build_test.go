package admit_test

import (
	"encoding/json"
	"strings"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// builder makes choices from bytes; when they are used up it chooses the first.
type builder struct{ data []byte }

func (b *builder) pick(n int) int {
	if len(b.data) == 0 {
		return 0
	}
	c := int(b.data[0]) % n
	b.data = b.data[1:]
	return c
}

func (b *builder) one(values ...any) any { return values[b.pick(len(values))] }

// text gives a mapping of strings a member, a null, or nothing.
func (b *builder) text(m map[string]any, key string, values ...any) {
	if c := b.pick(4); c > 0 {
		m[key] = b.one(append(values, nil)...)
	}
}

// set gives a mapping a member, a null, or nothing; one time in eight an unknown member beside it.
func (b *builder) set(m map[string]any, key string, value func() any) {
	switch c := b.pick(8); c {
	case 0, 1:
	case 2:
		m[key] = nil
	case 3:
		m["x-"+key] = json.RawMessage(`{"deep":[12345678901234567890,null,1.50]}`)
		fallthrough
	default:
		m[key] = value()
	}
}

func (b *builder) list(most int, value func() any) []any {
	list := make([]any, b.pick(most+1))
	for i := range list {
		list[i] = value()
	}
	return list
}

func (b *builder) host() any {
	return b.one("reviews", "ratings.shop.svc.cluster.local", "loose", "tight", "reviews.default.svc.cluster.local", "web.example.com",
		"*.shop.svc.cluster.local", "*", "*.default.svc.cluster.local", "")
}

// build returns an object of that kind.
func build(kind string, data []byte) map[string]any {
	b := &builder{data}
	metadata := map[string]any{"name": b.one("reviews", "loose", "tight", "new"), "namespace": b.one("shop", "default")}
	b.set(metadata, "labels", func() any {
		m := map[string]any{}
		b.text(m, policy.FencedLabel, "strict", "prefer", "no")
		b.text(m, "a/b~c", "d")
		return m
	})
	b.set(metadata, "annotations", func() any {
		m := map[string]any{}
		b.text(m, policy.FenceKey, "strict", "prefer", "none", "no")
		b.text(m, policy.FencedByAnnotation, "x")
		b.text(m, policy.InjectedAnnotation, "", "{", `{"labels":{"v1":"m1c1","v2":"m1c2"},"analyzeSuppress":true}`, `{"levels":{"top":{}}}`,
			`{"routes":{"http":[{}],"tcp":[{"route":[{"destination":{"host":"reviews","subset":"meshfence-local"}}]}]},"analyzeSuppress":true}`)
		b.text(m, "galley.istio.io/analyze-suppress", "", "IST0173", "IST0001, IST0173", "*")
		return m
	})
	obj := map[string]any{"metadata": metadata}
	b.set(obj, "spec", func() any {
		spec := map[string]any{}
		switch kind {
		case object.KindDestinationRule:
			b.destinationRule(spec)
		case object.KindVirtualService:
			b.virtualService(spec)
		}
		return spec
	})
	return obj
}

func (b *builder) destinationRule(spec map[string]any) {
	spec["host"] = b.host()
	b.set(spec, "trafficPolicy", b.trafficPolicy)
	b.set(spec, "subsets", func() any {
		names := strings.Fields("v1 v2 meshfence-local meshfence-m1c2 meshfence-x")
		return b.list(3, func() any {
			if b.pick(9) == 8 {
				return nil
			}
			subset := map[string]any{"name": names[b.pick(len(names))]}
			b.set(subset, "labels", func() any {
				m := map[string]any{}
				if b.pick(3) > 0 {
					m[policy.ClusterLabel] = b.one("m1c1", "m1c2")
				}
				b.text(m, "version", "v1")
				return m
			})
			b.set(subset, "trafficPolicy", b.trafficPolicy)
			return subset
		})
	})
}

func (b *builder) trafficPolicy() any {
	policy := map[string]any{}
	b.settings(policy)
	b.set(policy, "portLevelSettings", func() any {
		return b.list(2, func() any {
			if b.pick(9) == 8 {
				return nil
			}
			port := map[string]any{"port": map[string]any{"number": b.pick(3)}}
			b.settings(port)
			return port
		})
	})
	return policy
}

func (b *builder) settings(m map[string]any) {
	b.set(m, "outlierDetection", func() any {
		return b.one(map[string]any{}, map[string]any{"consecutive5xxErrors": 5},
			map[string]any{"consecutive5xxErrors": 5, "interval": "10s", "baseEjectionTime": "30s", "maxEjectionPercent": 100})
	})
	b.set(m, "loadBalancer", func() any {
		lb := map[string]any{}
		b.set(lb, "simple", func() any { return b.one("ROUND_ROBIN", "PASSTHROUGH") })
		b.set(lb, "zoneAwareLbSetting", func() any { return map[string]any{} })
		b.set(lb, "localityLbSetting", func() any {
			locality := map[string]any{}
			b.set(locality, "enabled", func() any { return b.one(true, false) })
			b.set(locality, "failover", func() any { return b.list(1, func() any { return map[string]any{"from": "a", "to": "b"} }) })
			b.set(locality, "distribute", func() any {
				return b.list(2, func() any { return map[string]any{"from": b.one("*", "east/a"), "to": map[string]any{"east/*": 100}} })
			})
			b.set(locality, "failoverPriority", func() any { return b.list(2, func() any { return b.one("topology.istio.io/cluster", "a") }) })
			return locality
		})
		return lb
	})
}

func (b *builder) virtualService(spec map[string]any) {
	b.set(spec, "hosts", func() any { return b.list(2, b.host) })
	destination := func() any {
		d := map[string]any{"host": b.host()}
		b.set(d, "subset", func() any { return b.one("meshfence-local", "v1", "", "meshfence-m1c2") })
		return d
	}
	weighted := func() any {
		m := map[string]any{}
		b.set(m, "destination", destination)
		return m
	}
	match := func() any {
		m := map[string]any{}
		b.set(m, "port", func() any { return b.pick(3) })
		b.set(m, "gateways", func() any { return b.list(2, func() any { return b.one("mesh", "gateway") }) })
		b.set(m, "sourceLabels", func() any { return map[string]any{"app": "x"} })
		b.set(m, "sourceNamespace", func() any { return b.one("", "shop") })
		b.set(m, "uri", func() any { return map[string]any{} })
		b.set(m, "sniHosts", func() any { return b.list(2, b.host) })
		b.set(m, "destinationSubnets", func() any { return b.list(1, func() any { return "10.0.0.0/8" }) })
		return m
	}
	b.set(spec, "gateways", func() any { return b.list(2, func() any { return b.one("mesh", "gateway") }) })
	b.set(spec, "exportTo", func() any { return b.list(2, func() any { return b.one("*", ".") }) })
	b.set(spec, "http", func() any {
		return b.list(2, func() any {
			m := map[string]any{}
			b.set(m, "match", func() any { return b.list(2, match) })
			b.set(m, "route", func() any { return b.list(2, weighted) })
			b.set(m, "mirror", destination)
			b.set(m, "mirrors", func() any { return b.list(2, weighted) })
			return m
		})
	})
	for _, protocol := range []string{"tcp", "tls"} {
		b.set(spec, protocol, func() any {
			return b.list(2, func() any {
				m := map[string]any{}
				b.set(m, "match", func() any { return b.list(2, match) })
				b.set(m, "route", func() any { return b.list(2, weighted) })
				return m
			})
		})
	}
}
