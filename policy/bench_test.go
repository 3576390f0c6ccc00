package policy_test

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"

	"github.com/meshfence/meshfence/policy"
)

// crowded returns an index of ten Namespaces that share the Services, each with Pods and addresses of its own.
func crowded(b *testing.B, services int) *policy.Index {
	index := policy.NewIndex(configOf(b, "{default: none}"))
	fences := []map[string]string{nil, fenced("strict"), fenced("prefer")}
	for i := range services {
		namespace := fmt.Sprintf("ns-%d", i%10)
		if i < 10 {
			index.SetNamespace(namespace, nil)
		}
		h := host(namespace, fmt.Sprintf("service-%d", i))
		index.SetService(h, fences[i%len(fences)])
		four := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}).String()
		index.SetServiceSpec(h, policy.ServiceSpec{
			Selector:  map[string]string{"app.kubernetes.io/name": h.Name, "app.kubernetes.io/instance": h.Name + "-release"},
			ClusterIP: four, ClusterIPs: []string{four},
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

// BenchmarkStrictAddress: a single address is found at once, a CIDR by a look at all.
func BenchmarkStrictAddress(b *testing.B) {
	for _, services := range []int{100, 100_000} {
		index := crowded(b, services)
		for _, text := range []string{"10.0.0.40/32", "10.0.0.0/8"} {
			prefix := netip.MustParsePrefix(text)
			b.Run(fmt.Sprintf("%s/services=%d", text, services), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, ok := index.View().StrictAddress(prefix, policy.Ports{}); !ok {
						b.Fatal("no Service has the address")
					}
				}
			})
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

// BenchmarkSetService changes the fence of one Service among many.
func BenchmarkSetService(b *testing.B) {
	index := crowded(b, 100_000)
	fences := []map[string]string{fenced("strict"), nil}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		index.SetService(host("ns-0", "service-50"), fences[i%2])
	}
}
