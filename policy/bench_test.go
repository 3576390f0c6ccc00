package policy_test

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/meshfence/meshfence/policy"
)

// crowded returns an index of ten Namespaces that share the Services.
func crowded(b *testing.B, services int) *policy.Index {
	index := policy.NewIndex(configOf(b, "{default: none}"))
	fences := []map[string]string{nil, fenced("strict"), fenced("prefer")}
	for i := range services {
		namespace := fmt.Sprintf("ns-%d", i%10)
		if i < 10 {
			index.SetNamespace(namespace, nil)
		}
		index.SetService(host(namespace, fmt.Sprintf("service-%d", i)), fences[i%len(fences)])
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

// BenchmarkIndexSize reports what one Service takes in the index, its name included.
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
