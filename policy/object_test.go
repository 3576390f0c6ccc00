package policy_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/wrapperspb"
	networking "istio.io/api/networking/v1alpha3"
	clientnetworking "istio.io/client-go/pkg/apis/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshfence/meshfence/policy"
)

// upstream returns for each kind an object of the upstream type in which every field that a view reads is
// set.
func upstream() map[string]any {
	meta := metav1.ObjectMeta{
		Namespace:   "shop",
		Name:        "cart",
		Labels:      map[string]string{"app": "cart"},
		Annotations: map[string]string{policy.FenceKey: "strict"},
	}
	balancer := &networking.LoadBalancerSettings{
		LbPolicy: &networking.LoadBalancerSettings_Simple{Simple: networking.LoadBalancerSettings_PASSTHROUGH},
		LocalityLbSetting: &networking.LocalityLoadBalancerSetting{
			Enabled:          wrapperspb.Bool(true),
			Distribute:       []*networking.LocalityLoadBalancerSetting_Distribute{{From: "r1/*", To: map[string]uint32{"r1": 100}}},
			Failover:         []*networking.LocalityLoadBalancerSetting_Failover{{From: "r1", To: "r2"}},
			FailoverPriority: []string{"topology.istio.io/cluster"},
		},
		ZoneAwareLbSetting: &networking.ZoneAwareLoadBalancerSetting{Enabled: wrapperspb.Bool(true)},
	}
	outlier := &networking.OutlierDetection{Consecutive_5XxErrors: wrapperspb.UInt32(5)}
	traffic := &networking.TrafficPolicy{
		LoadBalancer:     balancer,
		OutlierDetection: outlier,
		PortLevelSettings: []*networking.TrafficPolicy_PortTrafficPolicy{{
			Port: &networking.PortSelector{Number: 9080}, LoadBalancer: balancer, OutlierDetection: outlier,
		}},
		Tunnel: &networking.TrafficPolicy_TunnelSettings{Protocol: "CONNECT", TargetHost: "example.com", TargetPort: 443},
	}
	destination := &networking.Destination{Host: "cart", Subset: "v1", Port: &networking.PortSelector{Number: 9080}}
	routes := []*networking.RouteDestination{{Destination: destination, Weight: 100}}
	return map[string]any{
		policy.KindNamespace: &corev1.Namespace{ObjectMeta: meta},
		policy.KindService: &corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeExternalName, ExternalName: "example.com",
			Selector: map[string]string{"app": "cart"}, ClusterIP: corev1.ClusterIPNone,
		}},
		policy.KindDestinationRule: &clientnetworking.DestinationRule{ObjectMeta: meta, Spec: networking.DestinationRule{
			Host:          "cart",
			TrafficPolicy: traffic,
			Subsets:       []*networking.Subset{{Name: "v1", Labels: map[string]string{"version": "v1"}, TrafficPolicy: traffic}},
		}},
		policy.KindVirtualService: &clientnetworking.VirtualService{ObjectMeta: meta, Spec: networking.VirtualService{
			Hosts:    []string{"cart"},
			Gateways: []string{"mesh"},
			Http: []*networking.HTTPRoute{{
				Route:    []*networking.HTTPRouteDestination{{Destination: destination, Weight: 100}},
				Mirror:   destination,
				Mirrors:  []*networking.HTTPMirrorPolicy{{Destination: destination}},
				Delegate: &networking.Delegate{Name: "more", Namespace: "shop"},
			}},
			Tcp: []*networking.TCPRoute{{Route: routes}},
			Tls: []*networking.TLSRoute{{Route: routes}},
		}},
		policy.KindServiceEntry: &clientnetworking.ServiceEntry{ObjectMeta: meta, Spec: networking.ServiceEntry{
			Hosts: []string{"example.com"},
		}},
	}
}

func marshal(t testing.TB, object any) []byte {
	t.Helper()
	data, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestViewsOfUpstreamTypes fails on a field of a view that upstream spells differently or does not have.
func TestViewsOfUpstreamTypes(t *testing.T) {
	t.Parallel()
	for kind, object := range upstream() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			data := marshal(t, object)
			view, err := policy.Decode(kind, data)
			if err != nil {
				t.Fatal(err)
			}
			if view.Kind != kind {
				t.Errorf("kind is %q", view.Kind)
			}
			all := reflect.ValueOf(view).Elem()
			for i := range all.NumField() {
				name, field := all.Type().Field(i).Name, all.Field(i)
				own := name == kind || name == kind+"Spec"
				switch {
				case name == "Metadata" || own:
					checkFilled(t, name, field)
				case name != "Kind" && !field.IsNil():
					t.Errorf("%s is set", name)
				}
			}
		})
	}
}

// checkFilled reports every empty field.
func checkFilled(t *testing.T, path string, v reflect.Value) {
	t.Helper()
	if v.IsZero() {
		t.Errorf("%s is empty", path)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		checkFilled(t, path, v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			checkFilled(t, path+"."+v.Type().Field(i).Name, v.Field(i))
		}
	case reflect.Slice:
		if v.Len() == 0 {
			t.Errorf("%s is empty", path)
		}
		for i := range v.Len() {
			checkFilled(t, fmt.Sprintf("%s[%d]", path, i), v.Index(i))
		}
	case reflect.Map:
		if v.Len() == 0 {
			t.Errorf("%s is empty", path)
		}
	}
}

// TestDecodeIsCaseSensitive: no field is read under another spelling.
func TestDecodeIsCaseSensitive(t *testing.T) {
	t.Parallel()
	for kind, object := range upstream() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			var tree any
			if err := json.Unmarshal(marshal(t, object), &tree); err != nil {
				t.Fatal(err)
			}
			tree = rename(tree, 0)
			got, err := policy.Decode(kind, marshal(t, tree))
			if err != nil {
				t.Fatal(err)
			}
			want, err := policy.Decode(kind, []byte(`{"metadata": {}, "spec": {}}`))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("view of an object in upper case (-want +got):\n%s", diff)
			}
		})
	}
}

// rename puts the names of all fields below metadata and spec in upper case.
func rename(tree any, depth int) any {
	object, ok := tree.(map[string]any)
	if !ok {
		return tree
	}
	renamed := map[string]any{}
	for key, value := range object {
		if depth > 0 {
			key = strings.ToUpper(key)
		}
		renamed[key] = rename(value, depth+1)
	}
	return renamed
}

func TestDecodeErrors(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ kind, data, want string }{
		"unknown kind":    {"Pod", `{}`, "decode Pod: no such view"},
		"no kind":         {"", `{}`, "decode : no such view"},
		"not JSON":        {policy.KindService, `{`, "decode Service: unexpected EOF"},
		"empty":           {policy.KindService, ``, "decode Service: unexpected EOF"},
		"bad syntax":      {policy.KindService, `{"spec": {"type": x}}`, "decode Service: invalid character 'x' at start of value"},
		"breaks off":      {policy.KindNamespace, `{"metadata": [`, "decode Namespace: metadata: must be a mapping, not a list"},
		"number of names": {policy.KindService, `{"metadata": {"labels": {"0": {}}}}`, "decode Service: metadata.labels.0: must be a string, not a mapping"},
		"a list":          {policy.KindService, `[]`, "decode Service: the object: must be a mapping, not a list"},
		"a text":          {policy.KindNamespace, `"x"`, "decode Namespace: the object: must be a mapping, not a string"},
		"metadata":        {policy.KindNamespace, `{"metadata": []}`, "decode Namespace: metadata: must be a mapping, not a list"},
		"name":            {policy.KindService, `{"metadata": {"name": 1}}`, "decode Service: metadata.name: must be a string, not a number"},
		"label":           {policy.KindService, `{"metadata": {"labels": {"a": "b", "c": true}}}`, "decode Service: metadata.labels.c: must be a string, not true or false"},
		"spec":            {policy.KindVirtualService, `{"metadata": {"name": "x"}, "spec": 3}`, "decode VirtualService: spec: must be a mapping, not a number"},
		"selector":        {policy.KindService, `{"spec": {"selector": ["a"]}}`, "decode Service: spec.selector: must be a mapping, not a list"},
		"text for list":   {policy.KindServiceEntry, `{"spec": {"hosts": "a"}}`, "decode ServiceEntry: spec.hosts: must be a list, not a string"},
		"list item":       {policy.KindServiceEntry, `{"spec": {"hosts": ["a", "b", {"c": "d"}]}}`, "decode ServiceEntry: spec.hosts[2]: must be a string, not a mapping"},
		"subset name":     {policy.KindDestinationRule, `{"spec": {"host": "a", "subsets": [{"name": "v1"}, {"name": 2}]}}`, "decode DestinationRule: spec.subsets[1].name: must be a string, not a number"},
		"subset":          {policy.KindDestinationRule, `{"spec": {"subsets": [ "v1" ]}}`, "decode DestinationRule: spec.subsets[0]: must be a mapping, not a string"},
		"embedded":        {policy.KindDestinationRule, `{"spec": {"trafficPolicy": {"portLevelSettings": [{"loadBalancer": {"simple": []}}]}}}`, "decode DestinationRule: spec.trafficPolicy.portLevelSettings[0].loadBalancer.simple: must be a string, not a list"},
		"fraction":        {policy.KindDestinationRule, `{"spec": {"trafficPolicy": {"portLevelSettings": [{"port": {"number": 1.5}}]}}}`, "decode DestinationRule: spec.trafficPolicy.portLevelSettings[0].port.number: 1.5 must be a whole number"},
		"too large":       {policy.KindDestinationRule, `{"spec": {"trafficPolicy": {"tunnel": {"targetPort": 99999999999999999999}}}}`, "decode DestinationRule: spec.trafficPolicy.tunnel.targetPort: 99999999999999999999 must be a whole number"},
		"text for bool":   {policy.KindDestinationRule, `{"spec": {"trafficPolicy": {"loadBalancer": {"localityLbSetting": {"enabled": "yes"}}}}}`, "decode DestinationRule: spec.trafficPolicy.loadBalancer.localityLbSetting.enabled: must be true or false, not a string"},
		"text for weight": {policy.KindDestinationRule, `{"spec": {"trafficPolicy": {"loadBalancer": {"localityLbSetting": {"distribute": [{"to": {"r1": "100"}}]}}}}}`, "decode DestinationRule: spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[0].to.r1: must be a whole number, not a string"},
		"nested lists":    {policy.KindVirtualService, `{"spec": {"http": [{}, {"route": [{"destination": {}}, {"destination": {"host": "a", "subset": [[1], {"b": 2}]}}]}]}}`, "decode VirtualService: spec.http[1].route[1].destination.subset: must be a string, not a list"},
		"after others":    {policy.KindVirtualService, "{\"spec\": {\"other\": [1, {\"a\": [2]}, \"\\\"}\"],\n \"gateways\": [\"\\u00e9\", 7]}}", "decode VirtualService: spec.gateways[1]: must be a string, not a number"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			object, err := policy.Decode(tc.kind, []byte(tc.data))
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
	for kind, object := range upstream() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			var tree any
			if err := json.Unmarshal(marshal(t, object), &tree); err != nil {
				t.Fatal(err)
			}
			places := 0
			eachNull(tree, func() {
				places++
				data := marshal(t, tree)
				view, err := policy.Decode(kind, data)
				if err != nil {
					t.Fatalf("%v in %s", err, data)
				}
				if view.VirtualService != nil {
					for path, d := range view.VirtualService.Destinations() {
						_ = fmt.Sprint(path, d)
					}
				}
			})
			if places < 4 {
				t.Errorf("only %d places", places)
			}
			if _, err := policy.Decode(kind, []byte("null")); err != nil {
				t.Errorf("null itself: %v", err)
			}
		})
	}
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
	object, err := policy.Decode(policy.KindVirtualService, []byte(`{"spec": {
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
