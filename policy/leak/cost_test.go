package leak_test

import (
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
)

// sizeLimit is about what etcd, and so the API server, takes of one object, in bytes.
const sizeLimit = 3 << 19

// pattern is an object that grows: N in item is the number of the item, which are joined by commas in the place of LIST.
type pattern struct{ kind, shape, item string }

// patterns lists the lists of each kind, with items in which rules find something.
func patterns() map[string]pattern {
	const (
		service  = `{"metadata": {"namespace": "shop", "name": "cart"}, "spec": %s}`
		route    = `{"http": [{"route": [LIST]}], "hosts": ["cart"]}`
		policies = `{"host": "cart", "subsets": [LIST]}`
	)
	of := func(kind, spec, item string) pattern { return pattern{kind, fmt.Sprintf(service, spec), item} }
	p := map[string]pattern{
		"VirtualService hosts": of(object.KindVirtualService, `{"hosts": [LIST], "http": [{"route": [{"destination": {"host": "example.com"}}]}]}`, `"sN"`),
		"VirtualService hosts and destinations": of(object.KindVirtualService,
			`{"hosts": [LIST], "http": [{"route": [DESTINATIONS]}]}`, `"sN"`),
		"VirtualService wildcards":      of(object.KindVirtualService, `{"hosts": [LIST], "http": [{"route": [{"destination": {"host": "example.com"}}]}]}`, `"*N.shop.svc.cluster.local"`),
		"VirtualService destinations":   of(object.KindVirtualService, route, `{"destination": {"host": "wwwN.example.com"}}`),
		"VirtualService one host":       of(object.KindVirtualService, route, `{"destination": {"host": "example.com"}}`),
		"VirtualService half names":     of(object.KindVirtualService, route, `{"destination": {"host": "sN.shop"}}`),
		"VirtualService strict":         of(object.KindVirtualService, route, `{"destination": {"host": "sN", "subset": "vN"}}`),
		"VirtualService weights":        of(object.KindVirtualService, route, `{"weight": N, "destination": {"host": "wwwN.example.com"}}`),
		"VirtualService matches":        of(object.KindVirtualService, `{"hosts": ["cart"], "http": [{"match": [LIST], "route": [{"destination": {"host": "cart"}}, {"destination": {"host": "till"}}]}]}`, `{"port": N, "uri": {"exact": "/N"}, "sourceLabels": {"a": "N"}, "gateways": ["gN"]}`),
		"VirtualService routes":         of(object.KindVirtualService, `{"hosts": ["cart"], "http": [LIST]}`, `{"match": [{"port": N, "uri": {"exact": "/N"}}], "route": [{"destination": {"host": "s.example.com"}}], "redirect": {"authority": "xN"}}`),
		"VirtualService mirrors":        of(object.KindVirtualService, `{"hosts": ["cart"], "http": [{"mirrors": [LIST]}]}`, `{"destination": {"host": "wwwN.example.com"}}`),
		"VirtualService delegates":      of(object.KindVirtualService, `{"hosts": ["cart"], "http": [LIST]}`, `{"delegate": {"name": "routes", "namespace": "app"}}`),
		"VirtualService server names":   of(object.KindVirtualService, `{"hosts": ["cart"], "tls": [LIST]}`, `{"match": [{"port": N, "sniHosts": ["sN.shop.svc.cluster.local"]}], "route": [{"destination": {"host": "example.com"}}]}`),
		"VirtualService subnets":        of(object.KindVirtualService, `{"hosts": ["cart"], "tcp": [LIST]}`, `{"match": [{"destinationSubnets": ["10.0.N.0/24"]}], "route": [{"destination": {"host": "example.com"}}]}`),
		"DestinationRule subsets":       of(object.KindDestinationRule, policies, `{"name": "vN", "labels": {"version": "N", "cluster": "m1c1"}}`),
		"DestinationRule other cluster": of(object.KindDestinationRule, policies, `{"name": "vN", "labels": {"topology.istio.io/cluster": "m1c2"}}`),
		"DestinationRule policies":      of(object.KindDestinationRule, policies, `{"name": "vN", "trafficPolicy": {"loadBalancer": {"simple": "PASSTHROUGH"}, "tunnel": {"targetHost": "a", "targetPort": N}}}`),
		"DestinationRule ports":         of(object.KindDestinationRule, `{"host": "cart", "trafficPolicy": {"portLevelSettings": [LIST]}}`, `{"port": {"number": N}, "loadBalancer": {"localityLbSetting": {"enabled": false}}}`),
		"DestinationRule distribute":    of(object.KindDestinationRule, `{"host": "cart", "trafficPolicy": {"loadBalancer": {"localityLbSetting": {"distribute": [LIST]}}}}`, `{"from": "r1/zN", "to": {"r2/zN": 100}}`),
		"ServiceEntry hosts":            of(object.KindServiceEntry, `{"hosts": [LIST], "resolution": "STATIC", "endpoints": [{"address": "10.1.1.1", "network": "n2"}]}`, `"sN.shop.svc.cluster.local"`),
		"ServiceEntry bare names":       of(object.KindServiceEntry, `{"hosts": [LIST]}`, `"sN"`),
		"ServiceEntry addresses":        of(object.KindServiceEntry, `{"hosts": ["a.example.com"], "ports": [{"number": 9080}], "addresses": [LIST]}`, `"10.N.0.0/16"`),
		"ServiceEntry endpoints":        of(object.KindServiceEntry, `{"hosts": ["cart"], "endpoints": [LIST]}`, `{"address": "10.1.1.1", "network": "nN"}`),
		"ServiceEntry ports":            of(object.KindServiceEntry, `{"hosts": ["a.example.com"], "addresses": ["10.0.0.0/8"], "ports": [LIST]}`, `{"number": N, "name": "tcp-N", "protocol": "TCP"}`),
		"Sidecar egress":                of(object.KindSidecar, `{"egress": [LIST]}`, `{"port": {"number": N, "protocol": "TCP"}, "hosts": ["./sN.example.com"]}`),
		"Sidecar hosts":                 of(object.KindSidecar, `{"egress": [{"hosts": [LIST]}], "outboundTrafficPolicy": {"egressProxy": {"host": "example.com"}}}`, `"shop/sN.shop.svc.cluster.local"`),
		"Gateway servers":               of(object.KindGateway, `{"servers": [LIST]}`, `{"hosts": ["sN.shop.svc.cluster.local"], "tls": {"mode": "AUTO_PASSTHROUGH"}}`),
		"HTTPRoute backends":            of(object.KindHTTPRoute, `{"parentRefs": [{"group": "", "kind": "Service", "name": "cart"}], "rules": [{"backendRefs": [LIST]}]}`, `{"name": "sN", "namespace": "open"}`),
		"HTTPRoute parents":             of(object.KindHTTPRoute, `{"parentRefs": [LIST], "rules": [{"backendRefs": [{"name": "s", "namespace": "open"}]}]}`, `{"group": "", "kind": "Service", "name": "sN"}`),
		"Ingress paths":                 of(object.KindIngress, `{"rules": [{"http": {"paths": [LIST]}}]}`, `{"backend": {"service": {"name": "sN"}}}`),
		"BackendTLSPolicy targets":      of(object.KindBackendTLSPolicy, `{"targetRefs": [LIST]}`, `{"name": "sN", "sectionName": "http"}`),
		"Service ports":                 of(object.KindService, `{"selector": {"app": "cart"}, "ports": [LIST]}`, `{"port": N, "name": "http-N"}`),
		"Service addresses":             of(object.KindService, `{"externalIPs": [LIST]}`, `"10.1.N.1"`),
		"WorkloadEntry labels":          of(object.KindWorkloadEntry, `{"address": "10.1.1.1", "labels": {"app": "cart", LIST}}`, `"kN": "v"`),
		"EndpointSlice endpoints": {object.KindEndpointSlice,
			`{"metadata": {"namespace": "shop", "name": "x", "labels": {"kubernetes.io/service-name": "cart"}}, "endpoints": [LIST]}`, `{"addresses": ["10.1.N.1"]}`},
		"Endpoints addresses": {object.KindEndpoints, `{"metadata": {"namespace": "shop", "name": "cart"}, "subsets": [{"addresses": [LIST]}]}`, `{"ip": "10.1.N.1"}`},
		"Pod labels":          {object.KindPod, `{"metadata": {"namespace": "shop", "name": "x", "labels": {"app": "cart", "topology.istio.io/network": "n2", LIST}}}`, `"kN": "v"`},
		"Namespace labels":    {object.KindNamespace, `{"metadata": {"namespace": "shop", "name": "shop", "labels": {LIST}}}`, `"kN": "v"`},
	}
	return p
}

// object returns the object with n items, the first of which has a number.
func (p pattern) object(t testing.TB, n, first int) *object.Object {
	t.Helper()
	return decode(t, p.kind, []byte(p.text(n, first)))
}

func (p pattern) text(n, first int) string {
	items, destinations := make([]string, n), make([]string, n)
	for i := range items {
		items[i] = strings.ReplaceAll(p.item, "N", strconv.Itoa(first+i))
		destinations[i] = fmt.Sprintf(`{"destination": {"host": "d%d.example.com"}}`, first+i)
	}
	text := strings.Replace(p.shape, "LIST", strings.Join(items, ", "), 1)
	return strings.Replace(text, "DESTINATIONS", strings.Join(destinations, ", "), 1)
}

// busy is an index in which there is something to find.
func busy(t testing.TB, holds policy.Holds) *policy.Index {
	t.Helper()
	index := indexWith(t, holds, "{default: strict}")
	index.SetNamespace("app", nil)
	index.SetNamespace("open", map[string]string{policy.FenceKey: "none"})
	existing(t, index)
	for i := range 100 {
		host := hostname.Host{Namespace: "shop", Name: "s" + strconv.Itoa(i)}
		index.SetService(host, nil)
		index.SetServiceSpec(host, object.ServiceSpec{
			Selector: map[string]string{"app": host.Name}, ClusterIP: fmt.Sprintf("10.%d.0.7", i), Ports: []object.ServicePort{{Name: "http", Port: 9080}},
		})
	}
	index.SetObject(patterns()["VirtualService destinations"].rooted(t))
	return index
}

// rooted returns a delegate with many foreign destinations.
func (p pattern) rooted(t testing.TB) *object.Object {
	t.Helper()
	o := p.object(t, 1000, 0)
	o.Metadata.Namespace, o.Metadata.Name, o.VirtualService.Hosts = "app", "routes", nil
	return o
}

// someHoldSets are those under which most rules speak.
func someHoldSets() []policy.Holds {
	return []policy.Holds{policy.HoldsOf(policy.MeshConfig), policy.HoldsOf(policy.Subset), policy.HoldsOf(policy.Locality)}
}

// cost is what judging takes.
type cost struct {
	bytes uint64
	time  time.Duration
}

// costOf returns what a creation takes, and an update in which half of the items have gone: the least of some judgements.
func costOf(t testing.TB, guard *leak.Guard, index *policy.Index, p pattern, n, tries int) cost {
	t.Helper()
	o, old := p.object(t, n, 0), p.object(t, n, n/2)
	least := cost{1 << 62, 1 << 62}
	for range tries {
		start := time.Now()
		used := allocated(func() {
			guard.Judge(leak.Write{Object: o, Writer: "alice"}, index.View())
			guard.Judge(leak.Write{Object: o, Old: leak.Known(old), Writer: "alice"}, index.View())
		})
		least = cost{min(least.bytes, used), min(least.time, time.Since(start))}
	}
	return least
}

// allocated returns how many bytes f takes. Nothing else may run.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// Growth by which what is linear is told from what is not: eight times as many items may cost 24 times as much, where
// something quadratic costs 64 times as much. What takes little is not looked at.
const (
	grown      = 8
	superGrown = 24
	noBytes    = 1 << 20
	noTime     = 100 * time.Millisecond
)

// assertLinear lets the list of an object grow from a number of items on. Others use the machine, too: time counts only
// where it is too much over and over.
func assertLinear(t *testing.T, guard *leak.Guard, index *policy.Index, p pattern, items int) {
	t.Helper()
	var few, many cost
	for tries := range 5 {
		few, many = costOf(t, guard, index, p, items, 2+tries), costOf(t, guard, index, p, grown*items, 2+tries)
		if many.bytes > noBytes && many.bytes > superGrown*few.bytes {
			t.Errorf("%d items take %d bytes, and %d items %d", items, few.bytes, grown*items, many.bytes)
			return
		}
		if many.time <= noTime || many.time <= superGrown*few.time {
			return
		}
	}
	t.Errorf("%d items take %s, and %d items %s", items, few.time, grown*items, many.time)
}

// TestCostIsLinear lets every list of every kind grow. It is not parallel to other tests, which would count.
func TestCostIsLinear(t *testing.T) {
	const items = 500
	guard := leak.NewGuard(leak.Rules())
	for _, holds := range someHoldSets() {
		index := busy(t, holds)
		for name, p := range patterns() {
			t.Run(holds.String()+" "+name, func(t *testing.T) {
				assertLinear(t, guard, index, p, items)
			})
		}
	}
}

// TestLargestObjects judges an object of each pattern that is as large as the API server takes. The time is what a busy
// machine needs for what is linear; what searches one list for each item of another needs minutes.
func TestLargestObjects(t *testing.T) {
	const (
		mostBytes = 512 << 20
		mostTime  = 20 * time.Second
	)
	if testing.Short() {
		t.Skip("it takes a while")
	}
	guard := leak.NewGuard(leak.Rules())
	index := busy(t, policy.HoldsOf(policy.Subset))
	for name, p := range patterns() {
		n := p.itemsAt(sizeLimit)
		o := p.object(t, n, 0)
		start := time.Now()
		used := allocated(func() { guard.Judge(leak.Write{Object: o, Writer: "alice"}, index.View()) })
		if took := time.Since(start); used > mostBytes || took > mostTime {
			t.Errorf("%s: %d items take %d MiB and %s", name, n, used>>20, took)
		}
	}
}

// itemsAt returns how many items make an object of that size.
func (p pattern) itemsAt(size int) int {
	const some = 1000
	return size * some / len(p.text(some, size/len(p.item)))
}

// BenchmarkRules judges, rule by rule, objects as large as the API server takes.
func BenchmarkRules(b *testing.B) {
	index := busy(b, policy.HoldsOf(policy.Subset))
	for _, r := range leak.Rules() {
		guard := leak.NewGuard([]leak.Rule{r})
		for name, p := range patterns() {
			if !slices.Contains(r.Kinds, p.kind) {
				continue
			}
			b.Run(r.ID+"/"+name, func(b *testing.B) {
				o := p.object(b, p.itemsAt(sizeLimit), 0)
				b.ReportAllocs()
				for b.Loop() {
					guard.Judge(leak.Write{Object: o, Writer: "alice"}, index.View())
				}
			})
		}
	}
}

// FuzzCost lets one list of an object grow, whatever its items are, and fails where memory or time grows faster than the
// list.
func FuzzCost(f *testing.F) {
	names := make([]string, 0, len(patterns()))
	for name := range patterns() {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, name := range names {
		f.Add(byte(i), byte(i), patterns()[name].item)
	}
	guard := leak.NewGuard(leak.Rules())
	var indexes []*policy.Index
	for _, holds := range someHoldSets() {
		indexes = append(indexes, busy(f, holds))
	}
	f.Fuzz(func(t *testing.T, choice, holds byte, item string) {
		p := patterns()[names[int(choice)%len(names)]]
		p.item = item
		const items = 200
		for _, n := range []int{items, grown * items} {
			if _, err := object.Decode(p.kind, []byte(p.text(n, 0))); err != nil {
				t.Skip()
			}
		}
		if len(item) > 1000 {
			t.Skip() // it would be larger than any object
		}
		assertLinear(t, guard, indexes[int(holds)%len(indexes)], p, items)
	})
}
