package object_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/policy/object"
	"github.com/meshfence/meshfence/test/upstream"
)

func marshal(t testing.TB, object any) []byte {
	t.Helper()
	data, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// fieldOf returns the field of an Object that holds the view of a kind; empty for a kind that has metadata only.
func fieldOf(kind string) string {
	switch kind {
	case object.KindNamespace, object.KindPod, object.KindBinding, object.KindServiceExport:
		return ""
	case object.KindHTTPRoute, object.KindGRPCRoute, object.KindTCPRoute, object.KindTLSRoute:
		return "Route"
	case object.KindWasmPlugin, object.KindTrafficExtension:
		return "Extension"
	case object.KindAPIGateway:
		return "APIGateway"
	}
	return kind
}

// lacksSpec reports whether the fields of a kind are beside its metadata.
func lacksSpec(kind string) bool {
	return kind == object.KindConfigMap || kind == object.KindEndpoints || kind == object.KindEndpointSlice
}

// TestViewsOfUpstreamTypes fails on a field of a view that upstream spells differently or does not have.
func TestViewsOfUpstreamTypes(t *testing.T) {
	t.Parallel()
	// The routes that are not of HTTP share a view with those that are, and lack these.
	lacking := map[string][]string{
		// Mirrors share a view with the destinations that have a weight, and routes of bytes one with those that have headers.
		object.KindVirtualService: {
			"VirtualService.HTTP[0].Mirrors[0].Weight", "VirtualService.HTTP[0].Mirrors[0].Headers",
			"VirtualService.TLS[0].Route[0].Headers", "VirtualService.TCP[0].Route[0].Headers",
		},
		object.KindGRPCRoute: {
			"Route.Rules[0].Filters[0].RequestRedirect", "Route.Rules[0].BackendRefs[0].Filters[0].RequestRedirect",
		},
		object.KindTCPRoute: {"Route.Hostnames", "Route.Rules[0].Filters", "Route.Rules[0].BackendRefs[0].Filters"},
		object.KindTLSRoute: {"Route.Rules[0].Filters", "Route.Rules[0].BackendRefs[0].Filters"},
	}
	unseen := map[string]bool{}
	for field := range reflect.TypeFor[object.Object]().Fields() {
		unseen[field.Name] = true
	}
	for kind, obj := range upstream.Objects() {
		delete(unseen, fieldOf(kind))
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			view, err := object.Decode(kind, marshal(t, obj))
			if err != nil {
				t.Fatal(err)
			}
			if view.Kind != kind {
				t.Errorf("kind is %q", view.Kind)
			}
			var empty []string
			for field, value := range reflect.ValueOf(view).Elem().Fields() {
				switch {
				case field.Name == "Metadata" || field.Name == fieldOf(kind):
					empty = appendEmpty(empty, field.Name, value)
				case field.Name != "Kind" && !value.IsNil():
					t.Errorf("%s is set", field.Name)
				}
			}
			if diff := cmp.Diff(lacking[kind], empty); diff != "" {
				t.Errorf("empty fields (-want +got):\n%s", diff)
			}
		})
	}
	delete(unseen, "Kind")
	delete(unseen, "Metadata")
	delete(unseen, "Whole") // no view, and nothing decodes into it
	if len(unseen) > 0 {
		t.Errorf("upstream has no object for %v", slices.Sorted(maps.Keys(unseen)))
	}
}

// appendEmpty lists every empty field.
func appendEmpty(list []string, path string, v reflect.Value) []string {
	if v.IsZero() {
		return append(list, path)
	}
	switch v.Kind() {
	case reflect.Pointer:
		return appendEmpty(list, path, v.Elem())
	case reflect.Struct:
		for field, value := range v.Fields() {
			below := path
			if !field.Anonymous {
				below += "." + field.Name
			}
			list = appendEmpty(list, below, value)
		}
	case reflect.Slice:
		for i := range v.Len() {
			list = appendEmpty(list, fmt.Sprintf("%s[%d]", path, i), v.Index(i))
		}
		fallthrough
	case reflect.Map:
		if v.Len() == 0 {
			return append(list, path)
		}
	}
	return list
}

// TestDecodeIsCaseSensitive puts the name of each field of each object in upper case in turn: it is then as
// absent as if it were not there.
func TestDecodeIsCaseSensitive(t *testing.T) {
	t.Parallel()
	for kind, obj := range upstream.Objects() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			var tree any
			if err := json.Unmarshal(marshal(t, obj), &tree); err != nil {
				t.Fatal(err)
			}
			view := func() *object.Object {
				o, err := object.Decode(kind, marshal(t, tree))
				if err != nil {
					t.Fatal(err)
				}
				return o
			}
			read := 0
			whole := view()
			eachField(tree, func(parent map[string]any, name string, value any) {
				delete(parent, name)
				want := view()
				if !cmp.Equal(whole, want) {
					read++
				}
				parent[strings.ToUpper(name)] = value
				if diff := cmp.Diff(want, view()); diff != "" {
					t.Errorf("%s (-want +got):\n%s", strings.ToUpper(name), diff)
				}
				delete(parent, strings.ToUpper(name))
				parent[name] = value
			})
			if wantRead := 5; read < wantRead {
				t.Errorf("only %d fields are read", read)
			}
		})
	}
}

// eachField calls visit for every field below tree. Keys that users choose are no fields, and what a view keeps
// as it is has none.
func eachField(tree any, visit func(parent map[string]any, name string, value any)) {
	switch parent := tree.(type) {
	case map[string]any:
		for _, name := range slices.Collect(maps.Keys(parent)) {
			value := parent[name]
			visit(parent, name, value)
			switch name {
			case "labels", "annotations", "selector", "matchLabels", "sourceLabels", "to", "data", "environmentVariables", "options", // chosen
				"outlierDetection", "zoneAwareLbSetting", "failover",
				"uri", "scheme", "method", "authority", "headers", "withoutHeaders", "queryParams": // kept
			default:
				eachField(value, visit)
			}
		}
	case []any:
		for _, value := range parent {
			eachField(value, visit)
		}
	}
}

func TestDecodeErrors(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ kind, data, want string }{
		"unknown kind":    {"Deployment", `{}`, "decode Deployment: no such view"},
		"no kind":         {"", `{}`, "decode : no such view"},
		"not JSON":        {object.KindService, `{`, "decode Service: unexpected EOF"},
		"empty":           {object.KindService, ``, "decode Service: unexpected EOF"},
		"bad syntax":      {object.KindService, `{"spec": {"type": x}}`, "decode Service: invalid character 'x' at start of value"},
		"breaks off":      {object.KindNamespace, `{"metadata": [`, "decode Namespace: metadata: must be a mapping, not a list"},
		"number of names": {object.KindService, `{"metadata": {"labels": {"0": {}}}}`, "decode Service: metadata.labels.0: must be a string, not a mapping"},
		"a list":          {object.KindService, `[]`, "decode Service: the object: must be a mapping, not a list"},
		"a text":          {object.KindNamespace, `"x"`, "decode Namespace: the object: must be a mapping, not a string"},
		"metadata":        {object.KindNamespace, `{"metadata": []}`, "decode Namespace: metadata: must be a mapping, not a list"},
		"name":            {object.KindService, `{"metadata": {"name": 1}}`, "decode Service: metadata.name: must be a string, not a number"},
		"label":           {object.KindService, `{"metadata": {"labels": {"a": "b", "c": true}}}`, "decode Service: metadata.labels.c: must be a string, not true or false"},
		"spec":            {object.KindVirtualService, `{"metadata": {"name": "x"}, "spec": 3}`, "decode VirtualService: spec: must be a mapping, not a number"},
		"selector":        {object.KindService, `{"spec": {"selector": ["a"]}}`, "decode Service: spec.selector: must be a mapping, not a list"},
		"text for list":   {object.KindServiceEntry, `{"spec": {"hosts": "a"}}`, "decode ServiceEntry: spec.hosts: must be a list, not a string"},
		"list item":       {object.KindServiceEntry, `{"spec": {"hosts": ["a", "b", {"c": "d"}]}}`, "decode ServiceEntry: spec.hosts[2]: must be a string, not a mapping"},
		"subset name":     {object.KindDestinationRule, `{"spec": {"host": "a", "subsets": [{"name": "v1"}, {"name": 2}]}}`, "decode DestinationRule: spec.subsets[1].name: must be a string, not a number"},
		"subset":          {object.KindDestinationRule, `{"spec": {"subsets": [ "v1" ]}}`, "decode DestinationRule: spec.subsets[0]: must be a mapping, not a string"},
		"embedded":        {object.KindDestinationRule, `{"spec": {"trafficPolicy": {"portLevelSettings": [{"loadBalancer": {"simple": []}}]}}}`, "decode DestinationRule: spec.trafficPolicy.portLevelSettings[0].loadBalancer.simple: must be a string, not a list"},
		"fraction":        {object.KindDestinationRule, `{"spec": {"trafficPolicy": {"portLevelSettings": [{"port": {"number": 1.5}}]}}}`, "decode DestinationRule: spec.trafficPolicy.portLevelSettings[0].port.number: 1.5 must be a whole number"},
		"too large":       {object.KindDestinationRule, `{"spec": {"trafficPolicy": {"tunnel": {"targetPort": 99999999999999999999}}}}`, "decode DestinationRule: spec.trafficPolicy.tunnel.targetPort: 99999999999999999999 must be a whole number"},
		"text for bool":   {object.KindDestinationRule, `{"spec": {"trafficPolicy": {"loadBalancer": {"localityLbSetting": {"enabled": "yes"}}}}}`, "decode DestinationRule: spec.trafficPolicy.loadBalancer.localityLbSetting.enabled: must be true or false, not a string"},
		"text for weight": {object.KindDestinationRule, `{"spec": {"trafficPolicy": {"loadBalancer": {"localityLbSetting": {"distribute": [{"to": {"r1": "100"}}]}}}}}`, "decode DestinationRule: spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[0].to.r1: must be a whole number, not a string"},
		"nested lists":    {object.KindVirtualService, `{"spec": {"http": [{}, {"route": [{"destination": {}}, {"destination": {"host": "a", "subset": [[1], {"b": 2}]}}]}]}}`, "decode VirtualService: spec.http[1].route[1].destination.subset: must be a string, not a list"},
		"no spec":         {object.KindConfigMap, `{"metadata": {"name": "a"}, "data": {"mesh": 1}}`, "decode ConfigMap: data.mesh: must be a string, not a number"},
		"no spec, deep":   {object.KindEndpointSlice, `{"endpoints": [null, {"addresses": ["a", {}]}]}`, "decode EndpointSlice: endpoints[1].addresses[1]: must be a string, not a mapping"},
		"no spec, name":   {object.KindEndpoints, `{"metadata": {"name": 1}, "subsets": 1}`, "decode Endpoints: metadata.name: must be a string, not a number"},
		"shared view":     {object.KindTLSRoute, `{"spec": {"rules": [{"backendRefs": [{"namespace": ["a"]}]}]}}`, "decode TLSRoute: spec.rules[0].backendRefs[0].namespace: must be a string, not a list"},
		"embedded twice":  {object.KindGRPCRoute, `{"spec": {"rules": [{"backendRefs": [{"kind": 1}]}]}}`, "decode GRPCRoute: spec.rules[0].backendRefs[0].kind: must be a string, not a number"},
		"target":          {object.KindBackendTLSPolicy, `{"spec": {"targetRefs": {}}}`, "decode BackendTLSPolicy: spec.targetRefs: must be a list, not a mapping"},
		"after others":    {object.KindVirtualService, "{\"spec\": {\"other\": [1, {\"a\": [2]}, \"\\\"}\"],\n \"gateways\": [\"\\u00e9\", 7]}}", "decode VirtualService: spec.gateways[1]: must be a string, not a number"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			object, err := object.Decode(tc.kind, []byte(tc.data))
			if err == nil || object != nil {
				t.Fatalf("got %+v, %v", object, err)
			}
			if diff := cmp.Diff(tc.want, err.Error()); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

// TestDecodeNull puts null in the place of every value of every object in turn: it counts as absent.
func TestDecodeNull(t *testing.T) {
	t.Parallel()
	for kind, obj := range upstream.Objects() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			var tree any
			if err := json.Unmarshal(marshal(t, obj), &tree); err != nil {
				t.Fatal(err)
			}
			places := 0
			eachNull(tree, func() {
				places++
				data := marshal(t, tree)
				view, err := object.Decode(kind, data)
				if err != nil {
					t.Fatalf("%v in %s", err, data)
				}
				walkAll(view)
			})
			if places < 4 {
				t.Errorf("only %d places", places)
			}
			if _, err := object.Decode(kind, []byte("null")); err != nil {
				t.Errorf("null itself: %v", err)
			}
		})
	}
}

// walkAll runs through everything that a view can list.
func walkAll(o *object.Object) {
	switch {
	case o.VirtualService != nil:
		for range o.VirtualService.Destinations() {
		}
		for range o.VirtualService.Delegates(o.Metadata.Namespace) {
		}
	case o.Route != nil:
		for range o.Parents() {
		}
		for range o.Route.Backends() {
		}
	case o.Ingress != nil:
		for range o.Ingress.Backends() {
		}
	}
	_ = o.Addresses()
}

// eachNull calls visit once for every value below tree, while that value is nil.
func eachNull(tree any, visit func()) {
	switch parent := tree.(type) {
	case map[string]any:
		for key, value := range parent {
			parent[key] = nil
			visit()
			parent[key] = value
			eachNull(value, visit)
		}
	case []any:
		for i, value := range parent {
			parent[i] = nil
			visit()
			parent[i] = value
			eachNull(value, visit)
		}
	}
}

func TestDestinations(t *testing.T) {
	t.Parallel()
	object, err := object.Decode(object.KindVirtualService, []byte(`{"spec": {
		"tcp": [{"route": [{"destination": {"host": "g"}}]}],
		"tls": [null, {"route": [null, {"destination": {"host": "f", "subset": "v1"}}]}],
		"http": [
			{"route": [{"destination": {"host": "a"}}, {"destination": null}, {"destination": {"host": "b"}}],
			 "mirror": {"host": "c"}, "mirrors": [{"destination": {"host": "d"}}]},
			{"redirect": {"authority": "x"}},
			{"mirrors": [{}, {"destination": {"host": "e"}}]}
		]}}`))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"spec/http/0/route/0/destination a",
		"spec/http/0/route/2/destination b",
		"spec/http/0/mirror c",
		"spec/http/0/mirrors/0/destination d",
		"spec/http/2/mirrors/1/destination e",
		"spec/tls/1/route/1/destination f",
		"spec/tcp/0/route/0/destination g",
	}
	var got []string
	var paths [][]string
	for path, d := range object.VirtualService.Destinations() {
		got = append(got, strings.Join(path, "/")+" "+d.Host)
		paths = append(paths, path)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("destinations (-want +got):\n%s", diff)
	}
	for i, path := range paths { // a path must not share its array with the next
		if kept := strings.Join(path, "/"); !strings.HasPrefix(want[i], kept+" ") {
			t.Errorf("path %d became %s", i, kept)
		}
	}
	for stop := range want {
		n := 0
		for range object.VirtualService.Destinations() {
			if n++; n > stop {
				break
			}
		}
		if n != stop+1 {
			t.Errorf("went on to %d after %d", n, stop+1)
		}
	}
}

// TestTargets: they are the destinations of the paths, in the same order.
func TestTargets(t *testing.T) {
	t.Parallel()
	at := func(host string) *object.Destination { return &object.Destination{Host: host} }
	list := func(hosts ...string) []object.WeightedDestination {
		routes := []object.WeightedDestination{{}} // one without a destination
		for _, host := range hosts {
			routes = append(routes, object.WeightedDestination{Destination: at(host)})
		}
		return routes
	}
	v := object.VirtualService{
		HTTP: []object.HTTPRoute{{Route: list("a", "b"), Mirror: at("c"), Mirrors: list("d", "e")}, {}, {Route: list("f")}},
		TLS:  []object.TLSRoute{{Route: list("g")}, {Route: list("h", "i")}},
		TCP:  []object.TCPRoute{{Route: list("j", "k")}},
	}
	var want []object.Destination
	var paths []string
	for path, d := range v.Destinations() {
		want, paths = append(want, d), append(paths, path.String())
	}
	if diff := cmp.Diff(want, slices.Collect(v.Targets())); diff != "" || len(want) != 11 {
		t.Errorf("%d destinations (-want +got):\n%s", len(want), diff)
	}
	for n := range len(want) + 1 {
		got := 0
		for range v.Targets() {
			if got++; got > n {
				break
			}
		}
		if got != min(n+1, len(want)) {
			t.Errorf("%d targets come after a stop at %d", got, n)
		}
	}
	if first, last := paths[1], paths[10]; first != "spec.http[0].route[2].destination" || last != "spec.tcp[0].route[2].destination" {
		t.Errorf("paths %s to %s", first, last)
	}
}
