package inject_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
)

// FuzzInject plans objects that are made up from a seed, or taken from JSON where that can be read, under
// each of several configs. Nothing panics, a second admission changes nothing, validation does not refuse
// what mutation was to fix, and without a fence the object comes back.
func FuzzInject(f *testing.F) {
	for seed := range uint64(500) {
		f.Add(seed, []byte(nil))
	}
	f.Add(uint64(2), []byte(`{"metadata":{"annotations":{"meshfence.io/injected":"{\"levels\":{\"top\":{\"created\":-1}}}"}},"spec":{"host":"a","subsets":[null]}}`))
	f.Add(uint64(3), []byte(`{"metadata":null,"spec":{"host":"a","trafficPolicy":{"portLevelSettings":[{},{}]}}}`))
	f.Add(uint64(4), []byte(`{"spec":{"hosts":["a"],"http":[{"route":[{"destination":{"host":"a"}}]}],"tcp":[{}],"tls":null}}`))
	free := indexOf(f, "controlPlane: {clusters: [m1c1]}\nholds: [subset]")
	var fenced []*policy.Index
	for _, fence := range []string{"{default: strict}", "{default: prefer}", "{namespaces: [{name: shop, fence: strict}]}"} {
		for _, rest := range []string{
			"controlPlane: {clusters: [m1c1]}\nholds: [meshConfig]",
			"controlPlane: {clusters: [m1c1]}\nholds: [subset]",
			"controlPlane: {clusters: [m1c1]}\nholds: [locality, subset]\nlocalities: {m1c1: [r1/*]}",
			"controlPlane: {clusters: [m1c1]}\nholds: [locality, subset]",
			"controlPlane: {clusters: [m1c1, m1c2]}\nholds: [locality, subset]\nlocalities: {m1c1: [r1/*], m1c2: [r2/*]}",
		} {
			fenced = append(fenced, indexOf(f, rest+"\nscope: "+fence))
		}
		ill := indexOf(f, "controlPlane: {clusters: [m1c1]}\nholds: [meshConfig, subset]\nscope: "+fence)
		ill.SetConfig(ill.Config().WithMeshConfigFault(broken()))
		fenced = append(fenced, ill)
	}
	guard := leak.NewGuard(leak.Rules())
	kinds := []string{object.KindDestinationRule, object.KindVirtualService, object.KindService}
	f.Fuzz(func(t *testing.T, seed uint64, raw []byte) {
		random := rand.New(rand.NewPCG(seed, 0))
		kind := kinds[random.IntN(len(kinds))]
		index := fenced[random.IntN(len(fenced))]
		obj := raw
		if len(raw) == 0 {
			obj = (&maker{random, 1 + random.IntN(2)}).object(t, kind)
		}
		if _, err := object.Decode(kind, obj); err != nil || !json.Valid(obj) || string(obj) == "null" {
			t.Skip()
		}
		first := planFor(t, kind, obj, index)
		result := apply(t, obj, first)
		again(t, kind, first, result, index)
		promised(t, kind, first, result, index, guard)
		if len(raw) == 0 {
			same(t, "without the fence", obj, apply(t, result, planFor(t, kind, result, free)))
		}
	})
}

// promised demands that validation refuses no place that mutation had an edit for, or could have had one for.
func promised(t *testing.T, kind string, plan inject.Plan, result []byte, index *policy.Index, guard *leak.Guard) {
	t.Helper()
	object, err := object.Decode(kind, result)
	if err != nil {
		t.Fatal(err)
	}
	for _, finding := range guard.Check(object, index.View()) {
		// Nothing is fixed while the localities are not known.
		unknown := slices.ContainsFunc(inject.Object(object, index.View()).Gaps, func(g inject.Gap) bool {
			return strings.Contains(g.Must, "not known")
		})
		if !unknown && (finding.Rule == "destinationrule-unfenced" || finding.Rule == "virtualservice-foreign-subset") {
			t.Errorf("%s must be fixed by:\n%s", finding.Field(), describe(t, plan))
		}
	}
}

func indexOf(f *testing.F, rest string) *policy.Index {
	f.Helper()
	index := policy.NewIndex(parse(f, rest))
	index.SetNamespace("shop", nil)
	index.SetService(hostname.Host{Namespace: "shop", Name: "a"}, nil)
	return index
}

// maker makes up objects as an API server would hand them over before any admission of ours: no null, no
// empty list. Names may be there twice.
type maker struct {
	*rand.Rand
	most int // how often a name is in a list
}

type fields = map[string]any

func (m *maker) object(t *testing.T, kind string) []byte {
	t.Helper()
	metadata := fields{"namespace": "shop", "name": "it"}
	if m.one(4) {
		metadata["annotations"] = fields{"galley.istio.io/analyze-suppress": m.pick("*", "IST0173", "IST0102, IST0103")}
	}
	spec := fields{"unknown": fields{"kept": 1}}
	switch kind {
	case object.KindDestinationRule:
		spec["host"] = m.host()
		m.maybe(spec, "trafficPolicy", m.trafficPolicy)
		m.list(spec, "subsets", func(i int) any {
			subset := fields{"name": fmt.Sprintf("v%d", i/m.most)}
			m.maybe(subset, "labels", func() any {
				return fields{m.pick("version", "topology.istio.io/cluster"): m.pick("m1c1", "m1c2")}
			})
			m.maybe(subset, "trafficPolicy", m.trafficPolicy)
			return subset
		})
	case object.KindVirtualService:
		spec["hosts"] = []any{m.host()}
		if m.one(4) {
			spec["hosts"] = []any{m.host(), m.host()}
		}
		m.maybe(spec, "gateways", func() any { return []any{m.pick("mesh", "gateway"), m.pick("mesh", "gateway")} })
		m.maybe(spec, "exportTo", func() any { return []any{m.pick("*", ".")} })
		m.list(spec, "http", func(int) any {
			route := fields{}
			m.list(route, "match", func(int) any {
				match := m.match()
				m.maybe(match, "uri", func() any { return fields{"prefix": "/x"} })
				return match
			})
			m.list(route, "route", m.weighted)
			m.list(route, "mirrors", m.weighted)
			m.maybe(route, "mirror", m.destination)
			return route
		})
		for _, field := range []string{"tcp", "tls"} {
			m.list(spec, field, func(int) any {
				route := fields{}
				m.list(route, "match", func(int) any {
					match := m.match()
					m.maybe(match, "destinationSubnets", func() any { return []any{"10.0.0.0/8"} })
					if field == "tls" {
						m.list(match, "sniHosts", func(int) any { return m.host() })
					}
					return match
				})
				m.list(route, "route", m.weighted)
				return route
			})
		}
	}
	data, err := json.Marshal(fields{"metadata": metadata, "spec": spec})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func (m *maker) match() fields {
	match := fields{}
	for _, condition := range []fields{
		{"gateways": []any{m.pick("mesh", "gateway")}},
		{"port": 80 + m.IntN(2)},
		{"sourceLabels": fields{"app": m.pick("x", "y")}},
		{"sourceNamespace": m.pick("shop", "app")},
	} {
		if m.one(4) {
			maps.Copy(match, condition)
		}
	}
	return match
}

func (m *maker) trafficPolicy() any {
	policy := m.settings().(fields)
	m.list(policy, "portLevelSettings", func(i int) any {
		port := m.settings().(fields)
		port["port"] = fields{"number": 80 + i/m.most}
		return port
	})
	return policy
}

func (m *maker) settings() any {
	settings := fields{}
	m.maybe(settings, "outlierDetection", func() any { return fields{"consecutive5xxErrors": 3} })
	m.maybe(settings, "loadBalancer", func() any {
		balancer := fields{}
		m.maybe(balancer, "simple", func() any { return m.pick("RANDOM", "PASSTHROUGH") })
		m.maybe(balancer, "zoneAwareLbSetting", func() any { return fields{} })
		m.maybe(balancer, "localityLbSetting", func() any {
			locality := fields{}
			m.maybe(locality, "enabled", func() any { return m.one(2) })
			m.maybe(locality, "failover", func() any { return []any{fields{"from": "r1", "to": "r2"}} })
			m.maybe(locality, "failoverPriority", func() any {
				return []any{m.pick("topology.istio.io/cluster", "topology.istio.io/cluster=m1c2", "topology.kubernetes.io/region")}
			})
			m.maybe(locality, "distribute", func() any {
				return []any{fields{"from": m.pick("*", "r1/*"), "to": fields{m.pick("r1/*", "r2/*"): 100}}}
			})
			return locality
		})
		return balancer
	})
	return settings
}

func (m *maker) weighted(int) any { return fields{"destination": m.destination()} }

func (m *maker) destination() any {
	destination := fields{"host": m.host()}
	m.maybe(destination, "subset", func() any { return "v1" })
	return destination
}

func (m *maker) host() string {
	return m.pick("a", "a", "a.shop.svc.cluster.local", "b.other.svc.cluster.local", "*.shop.svc.cluster.local", "*", "example.com", "A", "")
}

func (m *maker) one(in int) bool { return m.IntN(in) == 0 }

func (m *maker) pick(values ...string) string { return values[m.IntN(len(values))] }

func (m *maker) maybe(in fields, field string, value func() any) {
	if m.one(2) {
		in[field] = value()
	}
}

func (m *maker) list(in fields, field string, item func(int) any) {
	var list []any
	for i := range m.IntN(3) {
		list = append(list, item(i))
	}
	if list != nil {
		in[field] = list
	}
}
