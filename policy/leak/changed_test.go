package leak_test

import (
	stdcmp "cmp"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
)

// TestChangedService: a strict Service that changes so that an object joins it or catches what is for it is refused,
// because of what that object is, and what did so before does not count (D14).
func TestChangedService(t *testing.T) {
	t.Parallel()
	const plain = `{"selector": {"app": "cart"}, "clusterIP": "10.0.0.1", "ports": [{"name": "tcp", "port": 80, "protocol": "TCP"}]}`
	tests := map[string]struct {
		holds    policy.Holds // meshConfig unless set
		objects  []string     // kind, Namespace, spec
		old, now string
		want     []string
	}{
		"its selector comes to choose a WorkloadEntry": {
			objects: []string{object.KindWorkloadEntry, "shop", `{"address": "10.9.9.9", "labels": {"app": "vm"}}`},
			old:     plain, now: `{"selector": {"app": "vm"}, "clusterIP": "10.0.0.1", "ports": [{"name": "tcp", "port": 80, "protocol": "TCP"}]}`,
			want: []string{"deny workloadentry-joins-fenced-service WorkloadEntry shop/it: spec.labels"},
		},
		"its selector comes to choose what istiod says of a WorkloadEntry": {
			objects: []string{object.KindWorkloadEntry, "shop", `{"address": "10.9.9.9", "locality": "r1/z1"}`},
			old:     plain, now: `{"selector": {"topology.kubernetes.io/zone": "z1"}, "clusterIP": "10.0.0.1", "ports": [{"name": "tcp", "port": 80, "protocol": "TCP"}]}`,
			want: []string{"deny workloadentry-joins-fenced-service WorkloadEntry shop/it: spec.labels"},
		},
		"its selector still chooses it": {
			objects: []string{object.KindWorkloadEntry, "shop", `{"address": "10.9.9.9", "labels": {"app": "cart", "version": "v1"}}`},
			old:     plain, now: `{"selector": {"app": "cart", "version": "v1"}, "clusterIP": "10.0.0.1", "ports": [{"name": "tcp", "port": 80, "protocol": "TCP"}]}`,
		},
		"it gets the port of a ServiceEntry for its address": {
			objects: []string{object.KindServiceEntry, "app", `{"hosts": ["a.example.com"], "addresses": ["10.0.0.1"], "ports": [{"number": 81, "protocol": "TCP"}], "resolution": "STATIC"}`},
			old:     plain, now: `{"selector": {"app": "cart"}, "clusterIP": "10.0.0.1", "ports": [{"name": "tcp", "port": 80, "protocol": "TCP"}, {"name": "more", "port": 81, "protocol": "TCP"}]}`,
			want: []string{"deny serviceentry-service-ip ServiceEntry app/it: spec.addresses[0]"},
		},
		"another ServiceEntry has its address already": {
			objects: []string{object.KindServiceEntry, "app", `{"hosts": ["a.example.com"], "addresses": ["10.0.0.1"], "ports": [{"number": 80, "protocol": "TCP"}], "resolution": "STATIC"}`},
			old:     plain, now: `{"selector": {"app": "cart"}, "clusterIP": "10.0.0.1", "ports": [{"name": "tcp", "port": 80, "protocol": "TCP"}, {"name": "more", "port": 81, "protocol": "TCP"}]}`,
		},
		"it changes in nothing that counts": {
			objects: []string{object.KindWorkloadEntry, "shop", `{"address": "10.9.9.9", "labels": {"app": "cart"}}`},
			old:     plain, now: `{"selector": {"app": "cart"}, "clusterIP": "10.0.0.1", "ports": [{"name": "tcp", "port": 80, "protocol": "TCP"}], "externalIPs": ["192.0.2.1"]}`,
		},
		"its VirtualService lacks routes for a new port, which the backfill adds": {
			holds:   policy.HoldsOf(policy.Subset),
			objects: []string{object.KindVirtualService, "shop", `{"hosts": ["cart"], "http": [{"route": [{"destination": {"host": "cart", "subset": "meshfence-local"}}]}]}`},
			old:     `{"selector": {"app": "cart"}, "ports": [{"name": "http", "port": 80}]}`,
			now:     `{"selector": {"app": "cart"}, "ports": [{"name": "http", "port": 80}, {"name": "tcp", "port": 81}]}`,
		},
		"a VirtualService of a wildcard too lacks routes for a new port, which nothing adds": {
			holds:   policy.HoldsOf(policy.Subset),
			objects: []string{object.KindVirtualService, "shop", `{"hosts": ["cart", "*.shop.svc.cluster.local"], "tcp": [{"match": [{"port": 82}], "route": [{"destination": {"host": "cart", "subset": "meshfence-local"}}]}]}`},
			old:     `{"selector": {"app": "cart"}, "ports": [{"name": "http", "port": 80}]}`,
			now:     `{"selector": {"app": "cart"}, "ports": [{"name": "http", "port": 80}, {"name": "tcp", "port": 81}]}`,
			want:    []string{"deny virtualservice-shadows-fence VirtualService shop/it: spec.tcp"},
		},
		"it gets a port of HTTP, for which a VirtualService has routes": {
			objects: []string{object.KindVirtualService, "shop", `{"hosts": ["cart"], "http": [{"route": [{"destination": {"host": "a.example.com"}}]}]}`},
			old:     `{"selector": {"app": "cart"}, "clusterIP": "10.0.0.1", "ports": [{"name": "tcp", "port": 82}]}`,
			now:     `{"selector": {"app": "cart"}, "clusterIP": "10.0.0.1", "ports": [{"name": "tcp", "port": 82}, {"name": "http", "port": 81}]}`,
			want:    []string{"deny virtualservice-foreign-host VirtualService shop/it: spec.http[0].route[0].destination.host"},
		},
		"its port gets another protocol, for which a VirtualService has routes": {
			objects: []string{object.KindVirtualService, "shop", `{"hosts": ["cart"], "http": [{"route": [{"destination": {"host": "a.example.com"}}]}]}`},
			old:     `{"selector": {"app": "cart"}, "clusterIP": "10.0.0.1", "ports": [{"name": "tcp", "port": 82}]}`,
			now:     `{"selector": {"app": "cart"}, "clusterIP": "10.0.0.1", "ports": [{"name": "tcp", "port": 82, "appProtocol": "http"}]}`,
			want:    []string{"deny virtualservice-foreign-host VirtualService shop/it: spec.http[0].route[0].destination.host"},
		},
		"it gets port 80, on which a VirtualService for a short name has routes": {
			objects: []string{object.KindVirtualService, "app", `{"hosts": ["cart.shop"], "http": [{"route": [{"destination": {"host": "a.example.com"}}]}]}`},
			old:     `{"selector": {"app": "cart"}, "clusterIP": "10.0.0.1", "ports": [{"name": "http", "port": 81}]}`,
			now:     `{"selector": {"app": "cart"}, "clusterIP": "10.0.0.1", "ports": [{"name": "http", "port": 81}, {"name": "http-80", "port": 80}]}`,
			want:    []string{"deny virtualservice-foreign-host VirtualService app/it: spec.http[0].route[0].destination.host"},
		},
		"it gets port 80, on which a VirtualService for its address has routes": {
			objects: []string{object.KindVirtualService, "app", `{"hosts": ["10.0.0.1"], "http": [{"route": [{"destination": {"host": "a.example.com"}}]}]}`},
			old:     `{"selector": {"app": "cart"}, "clusterIP": "10.0.0.1", "ports": [{"name": "http", "port": 81}]}`,
			now:     `{"selector": {"app": "cart"}, "clusterIP": "10.0.0.1", "ports": [{"name": "http", "port": 81}, {"name": "http-80", "port": 80}]}`,
			want:    []string{"deny virtualservice-foreign-host VirtualService app/it: spec.http[0].route[0].destination.host"},
		},
		"nothing is in the way": {
			objects: []string{object.KindWorkloadEntry, "shop", `{"address": "10.9.9.9", "labels": {"app": "vm"}}`},
			old:     plain, now: `{"selector": {"app": "other"}, "clusterIP": "10.0.0.1", "ports": [{"name": "tcp", "port": 80, "protocol": "TCP"}]}`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			index := indexWith(t, stdcmp.Or(test.holds, policy.HoldsOf(policy.MeshConfig)), "{default: strict}")
			service := func(spec string) *object.Object {
				return decode(t, object.KindService, fmt.Appendf(nil, `{"metadata": {"namespace": "shop", "name": "cart"}, "spec": %s}`, spec))
			}
			host := hostname.Host{Namespace: "shop", Name: "cart"}
			index.SetService(host, nil)
			index.SetServiceSpec(host, *service(test.old).Service)
			kind, namespace, spec := test.objects[0], test.objects[1], test.objects[2]
			index.SetObject(decode(t, kind, fmt.Appendf(nil, `{"metadata": {"namespace": %q, "name": "it"}, "spec": %s}`, namespace, spec)))
			var got []string
			w := leak.Write{Object: service(test.now), Old: leak.Known(service(test.old)), Writer: "alice"}
			for _, f := range leak.NewGuard(leak.Rules()).Existing(w, index.View()) {
				got = append(got, fmt.Sprint(f.Severity, " ", f.Rule, " ", f.Field()))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}
