package object_test

import (
	"fmt"
	"iter"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// TestListed: what a view lists is in the order of the object, under a path of its own; and who has seen
// enough can stop.
func TestListed(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		kind, object string
		list         func(*object.Object) iter.Seq2[object.Path, string]
		want         []string
	}{
		"Parents": {
			object.KindHTTPRoute,
			`{"metadata": {"namespace": "shop"}, "spec": {"parentRefs": [null, {"name": "front"}, {"kind": "Service", "name": "gateway group"},
				{"group": "", "kind": "Service", "name": "cart"}, {"group": "", "kind": "Gateway", "name": "core group"},
				{"group": "", "kind": "Service", "name": "till", "namespace": "prod"}]}}`,
			func(o *object.Object) iter.Seq2[object.Path, string] {
				return texts(o.Parents(), func(h hostname.Host) string { return h.FQDN("cluster.local") })
			},
			[]string{"spec/parentRefs/3 cart.shop" + ".svc.cluster.local", "spec/parentRefs/5 till.prod" + ".svc.cluster.local"},
		},
		"Backends of a Route": {
			object.KindGRPCRoute,
			`{"spec": {"rules": [null, {"backendRefs": [{"name": "a"}, {"name": "b", "filters": [{}, {"requestMirror": {"backendRef": {"name": "c"}}}]}],
				"filters": [{"requestMirror": {"backendRef": {"name": "d"}}}, null]}, {"backendRefs": [{"name": "e"}]}]}}`,
			func(o *object.Object) iter.Seq2[object.Path, string] {
				return texts(o.Route.Backends(), func(r object.Reference) string { return r.Name })
			},
			[]string{
				"spec/rules/1/filters/0/requestMirror/backendRef d",
				"spec/rules/1/backendRefs/0 a",
				"spec/rules/1/backendRefs/1 b",
				"spec/rules/1/backendRefs/1/filters/1/requestMirror/backendRef c",
				"spec/rules/2/backendRefs/0 e",
			},
		},
		"Backends of an Ingress": {
			object.KindIngress,
			`{"spec": {"defaultBackend": {"service": {"name": "a"}}, "rules": [{}, {"http": {"paths": [{"backend": {"resource": {}}},
				{"backend": {"service": {"name": "b"}}}]}}, {"http": {"paths": [{"backend": {"service": {"name": "c"}}}]}}]}}`,
			func(o *object.Object) iter.Seq2[object.Path, string] {
				return texts(o.Ingress.Backends(), strings.Clone)
			},
			[]string{
				"spec/defaultBackend/service/name a",
				"spec/rules/1/http/paths/1/backend/service/name b",
				"spec/rules/2/http/paths/0/backend/service/name c",
			},
		},
		"Delegates": {
			object.KindVirtualService,
			`{"spec": {"http": [{}, {"delegate": {"name": "a"}}, {"delegate": {"name": "b", "namespace": "prod"}}]}}`,
			func(o *object.Object) iter.Seq2[object.Path, string] {
				return texts(o.VirtualService.Delegates("shop"), func(d object.Delegate) string { return d.Namespace + "/" + d.Name })
			},
			[]string{"spec/http/1/delegate shop/a", "spec/http/2/delegate prod/b"},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			object, err := object.Decode(tc.kind, []byte(tc.object))
			if err != nil {
				t.Fatal(err)
			}
			var paths [][]string
			var values []string
			for path, value := range tc.list(object) {
				paths, values = append(paths, path), append(values, value)
			}
			var got []string
			for i, path := range paths { // read late: a path must not share its array with the next
				got = append(got, strings.Join(path, "/")+" "+values[i])
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			for stop := range tc.want {
				n := 0
				for range tc.list(object) {
					if n++; n > stop {
						break
					}
				}
				if n != stop+1 {
					t.Errorf("went on to %d after %d", n, stop+1)
				}
			}
		})
	}
}

func texts[V any](list iter.Seq2[object.Path, V], text func(V) string) iter.Seq2[object.Path, string] {
	return func(yield func(object.Path, string) bool) {
		for path, v := range list {
			if !yield(path, text(v)) {
				return
			}
		}
	}
}

// TestReference: what a reference is to, where its group, kind and Namespace are absent, empty or set.
func TestReference(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		reference string
		want      string
	}{
		"absent":           {`{"name": "a"}`, "Service a.shop"},
		"empty group":      {`{"group": "", "name": "a"}`, "Service a.shop"},
		"Service":          {`{"kind": "Service", "name": "a", "namespace": "prod"}`, "Service a.prod"},
		"Service of mcs":   {`{"group": "multicluster.x-k8s.io", "kind": "Service", "name": "a"}`, ""},
		"ServiceImport":    {`{"group": "multicluster.x-k8s.io", "kind": "ServiceImport", "name": "a", "namespace": "prod"}`, "ServiceImport a.prod"},
		"core's own":       {`{"kind": "ServiceImport", "name": "a"}`, ""},
		"Hostname":         {`{"group": "networking.istio.io", "kind": "Hostname", "name": "a.example.com"}`, "Hostname a.example.com"},
		"group alone":      {`{"group": "networking.istio.io", "name": "a"}`, ""},
		"another resource": {`{"group": "example.com", "kind": "Bucket", "name": "a"}`, ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			object, err := object.Decode(object.KindTCPRoute, fmt.Appendf(nil, `{"spec": {"rules": [{"backendRefs": [%s]}]}}`, tc.reference))
			if err != nil {
				t.Fatal(err)
			}
			reference := object.Route.Rules[0].BackendRefs[0].Reference
			var got []string
			if h, ok := reference.Service("shop"); ok {
				got = append(got, "Service "+h.Name+"."+h.Namespace)
			}
			if h, ok := reference.Import("shop"); ok {
				got = append(got, "ServiceImport "+h.Name+"."+h.Namespace)
			}
			if h, ok := reference.Hostname(); ok {
				got = append(got, "Hostname "+h)
			}
			if joined := strings.Join(got, ", "); joined != tc.want {
				t.Errorf("it is to %q, want %q", joined, tc.want)
			}
		})
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	for kind, tc := range map[string]struct {
		object string
		want   []string
	}{
		object.KindEndpointSlice: {`{"endpoints": [{"addresses": ["10.1.0.2", "10.1.0.1"]}, null, {"addresses": ["fd00::1"]}]}`, []string{"10.1.0.2", "10.1.0.1", "fd00::1"}},
		object.KindEndpoints: {`{"subsets": [{"notReadyAddresses": [{"ip": "10.1.0.3"}], "addresses": [{"ip": "10.1.0.1"}]}, {"addresses": [{"ip": "10.1.0.2"}]}]}`,
			[]string{"10.1.0.1", "10.1.0.3", "10.1.0.2"}},
		object.KindService: {`{"spec": {"clusterIP": "10.0.0.1"}}`, nil},
	} {
		object, err := object.Decode(kind, []byte(tc.object))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tc.want, object.Addresses()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", kind, diff)
		}
	}
}
