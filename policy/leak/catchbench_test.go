package leak_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
)

// listed returns n texts for a YAML list.
func listed(n int, format string) string {
	texts := make([]string, n)
	for i := range texts {
		texts[i] = fmt.Sprintf(format, i)
	}
	return "[" + strings.Join(texts, ", ") + "]"
}

// BenchmarkCaught judges objects of up to about a megabyte among 10,000 strict Services on 50 ports and 100
// Namespaces with Sidecars of their own. Twice the object must take about twice the time.
func BenchmarkCaught(b *testing.B) {
	index := indexWith(b, policy.HoldsOf(policy.MeshConfig), "{default: strict}")
	for i := range 10_000 {
		host := hostname.Host{Namespace: fmt.Sprint("ns-", i%100), Name: fmt.Sprint("service-", i)}
		index.SetNamespace(host.Namespace, nil)
		index.SetService(host, nil)
		index.SetServiceSpec(host, object.ServiceSpec{
			ClusterIP: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}).String(),
			Ports:     []object.ServicePort{{Name: "tcp", Port: int64(9000 + i%50)}, {Name: "http", Port: 80}},
		})
	}
	for i := range 100 {
		index.SetObject(fromYAML(b, object.KindSidecar, fmt.Sprintf("metadata: {name: default, namespace: ns-%d}\nspec: {egress: [{hosts: [./*, istio-system/*]}]}", i)))
		index.SetObject(fromYAML(b, object.KindServiceEntry, fmt.Sprintf(
			"metadata: {name: db, namespace: ns-%d}\nspec: {hosts: [db.example.com], resolution: DNS, ports: [{number: %d, protocol: TCP}]}", i, 9000+i)))
	}
	guard := leak.NewGuard(leak.Rules())
	for name, object := range map[string]func(n int) (kind, text string){
		"networks": func(n int) (string, string) {
			return object.KindServiceEntry, "spec: {hosts: [a.example.com], resolution: STATIC, ports: [{number: 80, protocol: TCP}, {number: 9001, protocol: TCP}], addresses: " + listed(n, "%d.0.0.0/8") + "}"
		},
		"ports": func(n int) (string, string) {
			return object.KindServiceEntry, "spec: {hosts: [a.example.com], resolution: STATIC, ports: " + listed(n, "{number: %d, protocol: TCP}") + "}"
		},
		"names": func(n int) (string, string) {
			return object.KindServiceEntry, "spec: {resolution: STATIC, ports: [{number: 80, protocol: HTTP}], hosts: " + listed(n, "'*.ns-%d'") + "}"
		},
		"imports": func(n int) (string, string) {
			return object.KindSidecar, "spec: {outboundTrafficPolicy: {egressProxy: {host: a.example.com}}, egress: [{hosts: " + listed(n, "./a-%d.example.com") + "}]}"
		},
		"listeners": func(n int) (string, string) {
			return object.KindSidecar, "spec: {egress: " + listed(n, "{port: {number: %d, protocol: TCP}, hosts: [./*]}") + "}"
		},
		"binds": func(n int) (string, string) {
			return object.KindSidecar, "spec: {egress: " + listed(n, "{port: {number: %d, protocol: TCP}, bind: 10.0.0.1, hosts: [./*]}") + "}"
		},
		"binds to every address": func(n int) (string, string) {
			return object.KindSidecar, "spec: {egress: " + listed(n, "{port: {number: %d, protocol: TCP}, bind: 0.0.0.0, hosts: [./*]}") + "}"
		},
	} {
		for _, n := range []int{1_000, 2_000, 4_000} {
			kind, text := object(n)
			o := fromYAML(b, kind, "metadata: {name: it, namespace: app}\n"+text)
			b.Run(fmt.Sprintf("%s/n=%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					guard.Check(o, index.View())
				}
			})
		}
	}
}
