package policy_test

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// crowded returns an index of ten Namespaces that share the Services, each with Pods and addresses of its own. Without
// fences a third of them is strict.
func crowded(b *testing.B, services int, fences ...map[string]string) *policy.Index {
	index := policy.NewIndex(configOf(b, "{default: none}"))
	if len(fences) == 0 {
		fences = []map[string]string{nil, fenced("strict"), fenced("prefer")}
	}
	for i := range services {
		namespace := fmt.Sprintf("ns-%d", i%10)
		if i < 10 {
			index.SetNamespace(namespace, nil)
		}
		h := host(namespace, fmt.Sprintf("service-%d", i))
		index.SetService(h, fences[i%len(fences)])
		four := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}).String()
		index.SetServiceSpec(h, object.ServiceSpec{
			Selector:  map[string]string{"app.kubernetes.io/name": h.Name, "app.kubernetes.io/instance": h.Name + "-release"},
			ClusterIP: four, ClusterIPs: []string{four}, Ports: []object.ServicePort{{Name: "http", Port: 9080}},
		})
	}
	return index
}

// BenchmarkMatch: what a lookup costs must not depend on the number of Services.
func BenchmarkMatch(b *testing.B) {
	for _, services := range []int{100, 100_000} {
		index := crowded(b, services)
		for name, h := range map[string]string{
			"exact":      "service-50.ns-0" + domain,
			"namespace":  "*.ns-0" + domain,
			"namespaces": "*-0" + domain,
			"everything": "*.local",
			"outside":    "example.com",
		} {
			b.Run(fmt.Sprintf("%s/services=%d", name, services), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					index.View().Match(h)
				}
			})
		}
	}
}

// BenchmarkStrictSelecting: what it costs to find the Service of a Pod or a ServiceEntry must not depend on the
// number of Services either.
func BenchmarkStrictSelecting(b *testing.B) {
	for _, services := range []int{100, 100_000} {
		index := crowded(b, services)
		labels := map[string]string{
			"app.kubernetes.io/name": "service-40", "app.kubernetes.io/instance": "service-40-release", "version": "v1", "pod-template-hash": "5d4f8c7b9",
		}
		b.Run(fmt.Sprintf("services=%d", services), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, ok := index.View().StrictSelecting("ns-0", labels); !ok {
					b.Fatal("no Service selects the labels")
				}
			}
		})
	}
}

// BenchmarkStrictAddress: what it costs to find a Service in networks must not depend on the number of Services, be
// they strict or not, nor on whether one of them has the port.
func BenchmarkStrictAddress(b *testing.B) {
	eight := make([]netip.Prefix, 8)
	for i := range eight {
		eight[i] = netip.MustParsePrefix(fmt.Sprintf("%d.0.0.0/8", 3+i))
	}
	for _, services := range []int{100, 100_000} {
		for strict, index := range map[string]*policy.Index{"some": crowded(b, services), "none": crowded(b, services, nil)} {
			for name, prefixes := range map[string][]netip.Prefix{"one": {netip.MustParsePrefix("10.0.0.40/32")}, "network": eight} {
				for _, port := range []int64{9080, 9999} {
					b.Run(fmt.Sprintf("%s/port=%d/strict=%s/services=%d", name, port, strict, services), func(b *testing.B) {
						b.ReportAllocs()
						for b.Loop() {
							view, found := index.View(), false
							for _, prefix := range prefixes {
								_, ok := view.StrictAddress(prefix, policy.Ports{Numbers: []int64{port}})
								found = found || ok
							}
							if found != (strict == "some" && port == 9080) {
								b.Fatalf("found: %t", found)
							}
						}
					})
				}
			}
		}
	}
}

// BenchmarkStrictHidden: nor must what it costs to find a Service that clients do not know.
func BenchmarkStrictHidden(b *testing.B) {
	for _, services := range []int{100, 100_000} {
		index := crowded(b, services)
		for name, egress := range map[string]string{
			"own":        `[{"hosts": ["./*", "istio-system/*"]}]`,
			"everything": `[{"hosts": ["*/*"]}]`,
			"one port":   `[{"port": {"number": 9080, "protocol": "TCP"}, "hosts": ["./*"]}, {"hosts": ["*/*"]}]`,
		} {
			view := index.View()
			clients := view.ClientsIn("app", objectOf(b, object.KindSidecar, "app", "default", `"spec": {"egress": `+egress+`}`))
			for _, ports := range []policy.Ports{{}, {Numbers: []int64{9080}}} {
				b.Run(fmt.Sprintf("%s/ports=%v/services=%d", name, ports.Numbers, services), func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						if _, hidden := index.View().StrictHidden(&clients, ports); hidden != (name != "everything") {
							b.Fatalf("hidden: %t", hidden)
						}
					}
				})
			}
		}
	}
}

// BenchmarkIndexSize reports what one Service takes in the index, its name, selector and addresses included.
func BenchmarkIndexSize(b *testing.B) {
	const services = 100_000
	var before, after runtime.MemStats
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		index := crowded(b, services)
		runtime.GC()
		runtime.ReadMemStats(&after)
		runtime.KeepAlive(index)
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/services, "B/Service")
}

// BenchmarkSetConfig puts another FenceConfig in force, by which every Service has another fence.
func BenchmarkSetConfig(b *testing.B) {
	index := crowded(b, 100_000, nil)
	configs := []*policy.Config{configOf(b, "{default: strict}"), configOf(b, "{default: none}")}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		index.SetConfig(configs[i%2])
	}
}

// BenchmarkSetService changes the fence of one Service among many.
func BenchmarkSetService(b *testing.B) {
	index := crowded(b, 100_000)
	fences := []map[string]string{fenced("strict"), nil}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		index.SetService(host("ns-0", "service-50"), fences[i%2])
	}
}
