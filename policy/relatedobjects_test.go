package policy_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
	"github.com/meshfence/meshfence/test/upstream"
)

// someHosts are the Services that the tests of the inventory ask for. None of them has to exist.
var someHosts = []hostname.Host{
	host("shop", "cart"), host("shop", "till"), host("prod", "cart"), host("prod", "till"), host("workshop", "cart"),
}

func objectOf(t testing.TB, kind, namespace, name, fields string) *object.Object {
	t.Helper()
	o, err := object.Decode(kind, fmt.Appendf(nil, `{"metadata": {"namespace": %q, "name": %q}, %s}`, namespace, name, fields))
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// relatedTo lists the hosts for which the index finds the object, as name.namespace.
func relatedTo(index *policy.Index, k object.Key) []string {
	var list []string
	for _, h := range someHosts {
		if slices.ContainsFunc(index.View().Related(h), func(o *object.Object) bool { return o.Key() == k }) {
			list = append(list, h.Name+"."+h.Namespace)
		}
	}
	return list
}

func TestRelated(t *testing.T) {
	t.Parallel()
	all := []string{"cart.shop", "till.shop", "cart.prod", "till.prod", "cart.workshop"}
	shop := []string{"cart.shop", "till.shop"}
	one := []string{"cart.shop"}
	tests := map[string]struct {
		kind, fields string // of an object in shop
		want         []string
	}{
		"DestinationRule":            {object.KindDestinationRule, `"spec": {"host": "cart"}`, one},
		"DestinationRule elsewhere":  {object.KindDestinationRule, `"spec": {"host": "cart.prod.svc.cluster.local"}`, []string{"cart.prod"}},
		"DestinationRule, two parts": {object.KindDestinationRule, `"spec": {"host": "cart.prod"}`, []string{"cart.prod"}},
		"DestinationRule, with svc":  {object.KindDestinationRule, `"spec": {"host": "cart.prod.svc"}`, []string{"cart.prod"}},
		"DestinationRule, upper":     {object.KindDestinationRule, `"spec": {"host": "Cart.Prod.svc.cluster.local."}`, []string{"cart.prod"}},
		"DestinationRule, no host":   {object.KindDestinationRule, `"spec": {}`, nil},
		"DestinationRule, outside":   {object.KindDestinationRule, `"spec": {"host": "cart.example.com"}`, nil},
		"everything":                 {object.KindDestinationRule, `"spec": {"host": "*"}`, all},
		"the domain":                 {object.KindDestinationRule, `"spec": {"host": "*.svc.cluster.local"}`, all},
		"end of the domain":          {object.KindDestinationRule, `"spec": {"host": "*r.local"}`, all},
		"a wildcard without a dot":   {object.KindDestinationRule, `"spec": {"host": "*ill"}`, []string{"till.shop"}},
		"a namespace":                {object.KindDestinationRule, `"spec": {"host": "*.prod.svc.cluster.local"}`, []string{"cart.prod", "till.prod"}},
		"end of namespaces":          {object.KindDestinationRule, `"spec": {"host": "*shop.svc.cluster.local"}`, []string{"cart.shop", "till.shop", "cart.workshop"}},
		"end of services":            {object.KindDestinationRule, `"spec": {"host": "*ill.prod.svc.cluster.local"}`, []string{"till.prod"}},
		"a whole name after a star":  {object.KindDestinationRule, `"spec": {"host": "*cart.prod.svc.cluster.local"}`, []string{"cart.prod"}},
		"more than a name":           {object.KindDestinationRule, `"spec": {"host": "*xcart.prod.svc.cluster.local"}`, nil},
		"a wildcard outside":         {object.KindDestinationRule, `"spec": {"host": "*.example.com"}`, nil},
		"a star inside":              {object.KindDestinationRule, `"spec": {"host": "cart.*.svc.cluster.local"}`, nil},

		"VirtualService, hosts":       {object.KindVirtualService, `"spec": {"hosts": ["www.example.com", "till", "cart.prod.svc.cluster.local"]}`, []string{"till.shop", "cart.prod"}},
		"VirtualService, destination": {object.KindVirtualService, `"spec": {"hosts": ["*.example.com"], "http": [{"route": [{"destination": {"host": "cart"}}], "mirror": {"host": "till.prod"}}]}`, []string{"cart.shop", "till.prod"}},
		"VirtualService, tcp and tls": {object.KindVirtualService, `"spec": {"tcp": [{"route": [{"destination": {"host": "cart"}}]}], "tls": [{"route": [{"destination": {"host": "till"}}]}]}`, shop},
		"VirtualService, delegate":    {object.KindVirtualService, `"spec": {"hosts": ["x.example.com"], "http": [{"delegate": {"name": "cart", "namespace": "shop"}}]}`, nil},

		"ServiceEntry, bare name":  {object.KindServiceEntry, `"spec": {"hosts": ["Cart"]}`, []string{"cart.shop", "cart.prod", "cart.workshop"}},
		"ServiceEntry, wildcard":   {object.KindServiceEntry, `"spec": {"hosts": ["x.example.com", "*.prod.svc.cluster.local"]}`, []string{"cart.prod", "till.prod"}},
		"ServiceEntry, selector":   {object.KindServiceEntry, `"spec": {"hosts": ["x.example.com"], "workloadSelector": {"labels": {"app": "a"}}}`, shop},
		"ServiceEntry, addresses":  {object.KindServiceEntry, `"spec": {"hosts": ["x.example.com"], "addresses": ["10.0.0.1"]}`, all},
		"ServiceEntry, endpoints":  {object.KindServiceEntry, `"spec": {"hosts": ["x.example.com"], "endpoints": [{"address": "10.1.0.1"}]}`, nil},
		"WorkloadEntry":            {object.KindWorkloadEntry, `"spec": {"address": "10.1.0.1"}`, shop},
		"WorkloadGroup":            {object.KindWorkloadGroup, `"spec": {}`, shop},
		"EnvoyFilter":              {object.KindEnvoyFilter, `"spec": {}`, shop},
		"ProxyConfig":              {object.KindProxyConfig, `"spec": {"environmentVariables": {"A": "b"}}`, all},
		"ProxyConfig, its threads": {object.KindProxyConfig, `"spec": {"concurrency": 2}`, nil},
		"WasmPlugin":               {object.KindWasmPlugin, `"spec": {}`, shop},
		"TrafficExtension":         {object.KindTrafficExtension, `"spec": {}`, shop},
		"EndpointSlice":            {object.KindEndpointSlice, `"metadata": {"namespace": "shop", "name": "it", "labels": {"kubernetes.io/service-name": "cart"}}`, one},
		"EndpointSlice of nothing": {object.KindEndpointSlice, `"endpoints": []`, nil},
		"Sidecar":                  {object.KindSidecar, `"spec": {"outboundTrafficPolicy": {"egressProxy": {"host": "cart"}}}`, all},
		"Sidecar, nothing else":    {object.KindSidecar, `"spec": {"outboundTrafficPolicy": {"mode": "REGISTRY_ONLY", "egressProxy": {"host": "cart"}}}`, nil},
		"Sidecar, bound":           {object.KindSidecar, `"spec": {"egress": [{"bind": "10.0.0.1", "hosts": ["*/*"]}]}`, all},
		"Sidecar, imports":         {object.KindSidecar, `"spec": {"egress": [{"hosts": ["./cart.shop.svc.cluster.local"]}]}`, nil},
		"Sidecar without a proxy":  {object.KindSidecar, `"spec": {"outboundTrafficPolicy": {}}`, nil},
		"Sidecar without a policy": {object.KindSidecar, `"spec": {}`, nil},
		"Gateway":                  {object.KindGateway, `"spec": {"servers": [{"hosts": ["prod/cart.prod.svc.cluster.local"]}, {"hosts": ["./cart.shop.svc.cluster.local"]}]}`, []string{"cart.shop", "cart.prod"}},
		"Gateway, wildcard":        {object.KindGateway, `"spec": {"servers": [{"hosts": ["*/*.prod.svc.cluster.local"]}]}`, []string{"cart.prod", "till.prod"}},
		"Gateway, everything":      {object.KindGateway, `"spec": {"servers": [{"hosts": ["*"]}]}`, all},
		"ServiceExport":            {object.KindServiceExport, `"spec": {}`, nil},

		"Ingress":              {object.KindIngress, `"spec": {"defaultBackend": {"service": {"name": "cart"}}, "rules": [{"http": {"paths": [{"backend": {"service": {"name": "till"}}}]}}]}`, shop},
		"a backend":            {object.KindHTTPRoute, `"spec": {"rules": [{"backendRefs": [{"name": "cart"}, {"name": "till", "namespace": "prod"}]}]}`, []string{"cart.shop", "till.prod"}},
		"a mirror":             {object.KindGRPCRoute, `"spec": {"rules": [{"filters": [{"requestMirror": {"backendRef": {"name": "cart"}}}]}]}`, one},
		"a ServiceImport":      {object.KindTCPRoute, `"spec": {"rules": [{"backendRefs": [{"group": "multicluster.x-k8s.io", "kind": "ServiceImport", "name": "cart"}]}]}`, one},
		"a Hostname":           {object.KindTLSRoute, `"spec": {"rules": [{"backendRefs": [{"group": "networking.istio.io", "kind": "Hostname", "name": "cart.prod.svc.cluster.local"}]}]}`, []string{"cart.prod"}},
		"a parent":             {object.KindHTTPRoute, `"spec": {"parentRefs": [{"group": "", "kind": "Service", "name": "till"}, {"name": "cart"}]}`, []string{"till.shop"}},
		"BackendTLSPolicy":     {object.KindBackendTLSPolicy, `"spec": {"targetRefs": [{"group": "", "kind": "Service", "name": "till"}]}`, []string{"till.shop"}},
		"what nothing relates": {object.KindPod, `"spec": {}`, nil},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			index := policy.NewIndex(configOf(t, "{}"))
			o := objectOf(t, tc.kind, "shop", "it", tc.fields)
			index.SetObject(o)
			if diff := cmp.Diff(tc.want, relatedTo(index, o.Key())); diff != "" {
				t.Errorf("related to (-want +got):\n%s", diff)
			}
			index.DeleteObject(o.Key())
			if got := relatedTo(index, o.Key()); got != nil {
				t.Errorf("still related to %v after it is gone", got)
			}
		})
	}
}

// TestRelatedOfEveryKind: the object of each kind that names shop/cart in each field is found by it. What is not
// kept in the inventory is named here.
func TestRelatedOfEveryKind(t *testing.T) {
	t.Parallel()
	index := policy.NewIndex(configOf(t, "{}"))
	want := []object.Key{}
	for kind, upstreamObject := range upstream.Objects() {
		data, err := json.Marshal(upstreamObject)
		if err != nil {
			t.Fatal(err)
		}
		o, err := object.Decode(kind, data)
		if err != nil {
			t.Fatal(err)
		}
		index.SetObject(o)
		switch kind {
		case object.KindNamespace, object.KindService, object.KindPod, object.KindBinding, object.KindConfigMap, object.KindEndpoints,
			object.KindIngressClass, object.KindGatewayClass, object.KindAPIGateway:
		default:
			want = append(want, o.Key())
		}
	}
	slices.SortFunc(want, object.Key.Compare)
	got := []object.Key{}
	for _, o := range index.View().Related(host("shop", "cart")) {
		got = append(got, o.Key())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("related to cart.shop (-want +got):\n%s", diff)
	}
}

func TestDelegators(t *testing.T) {
	t.Parallel()
	index := policy.NewIndex(configOf(t, "{}"))
	for _, o := range []*object.Object{
		objectOf(t, object.KindVirtualService, "shop", "b", `"spec": {"hosts": ["cart"], "http": [{"delegate": {"name": "routes"}}, {"delegate": {"name": "routes"}}]}`),
		objectOf(t, object.KindVirtualService, "prod", "a", `"spec": {"hosts": ["cart"], "http": [{}, {"delegate": {"name": "routes", "namespace": "shop"}}]}`),
		objectOf(t, object.KindVirtualService, "prod", "other", `"spec": {"hosts": ["cart"], "http": [{"delegate": {"name": "routes"}}]}`),
		objectOf(t, object.KindVirtualService, "shop", "wide", `"spec": {"hosts": ["*"]}`),
		objectOf(t, object.KindDestinationRule, "shop", "wide", `"spec": {"host": "*s"}`),
	} {
		index.SetObject(o)
	}
	for of, want := range map[object.Key][]object.Key{
		{Kind: object.KindVirtualService, Namespace: "shop", Name: "routes"}: {{Kind: object.KindVirtualService, Namespace: "prod", Name: "a"}, {Kind: object.KindVirtualService, Namespace: "shop", Name: "b"}},
		{Kind: object.KindVirtualService, Namespace: "shop", Name: "none"}:   nil,
	} {
		var got []object.Key
		for _, o := range index.View().Delegators(of) {
			got = append(got, o.Key())
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%v (-want +got):\n%s", of, diff)
		}
	}
}

func TestWatchObjects(t *testing.T) {
	t.Parallel()
	index := policy.NewIndex(configOf(t, "{}"))
	rule := objectOf(t, object.KindDestinationRule, "shop", "it", `"spec": {"host": "cart"}`)
	key := rule.Key()
	var seen []string
	var cancels []func()
	for _, watcher := range []string{"first", "second"} {
		cancels = append(cancels, index.WatchObjects(func(old, now *object.Object) { // may use the index
			_, exists := index.View().Object(key)
			seen = append(seen, fmt.Sprintf("%s %t %t %t", watcher, old == rule, now == rule, exists))
		}))
	}
	index.SetObject(rule)
	cancels[0]()
	index.DeleteObject(key)
	index.DeleteObject(key)
	want := []string{"first false true true", "second false true true", "second true false false"}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Errorf("seen (-want +got):\n%s", diff)
	}
}

// inventoryModel is an index, and the objects that were put into it.
type inventoryModel struct {
	index   *policy.Index
	objects map[object.Key]*object.Object
}

// hostsOf reads what the objects of the model name.
func hostsOf(o *object.Object) []string {
	switch {
	case o.DestinationRule != nil:
		return []string{o.DestinationRule.Host}
	case o.VirtualService != nil:
		return o.VirtualService.Hosts
	}
	return o.ServiceEntry.Hosts
}

// spellings are the names of a Service that have its Namespace.
func spellings(h hostname.Host) []string {
	short := h.Name + "." + h.Namespace
	return []string{short, short + ".svc", h.FQDN("cluster.local")}
}

// related walks over all objects.
func (m inventoryModel) related(h hostname.Host) []object.Key {
	keys := []object.Key{}
	fqdn := h.FQDN("cluster.local")
	for k, o := range m.objects {
		if slices.ContainsFunc(hostsOf(o), func(text string) bool {
			text = strings.TrimSuffix(strings.ToLower(text), ".")
			suffix, wildcard := strings.CutPrefix(text, "*")
			switch {
			case text == "":
				return false
			case wildcard && suffix != "" && !strings.Contains(suffix, "."):
				return strings.HasSuffix(fqdn, suffix+"."+k.Namespace+domain) ||
					o.ServiceEntry != nil && slices.ContainsFunc(spellings(h), func(name string) bool { return strings.HasSuffix(name, suffix) })
			case wildcard:
				return slices.ContainsFunc(spellings(h), func(name string) bool { return strings.HasSuffix(name, suffix) })
			case strings.Contains(text, "."):
				return slices.Contains(spellings(h), text)
			}
			return text == h.Name && (k.Namespace == h.Namespace || o.ServiceEntry != nil)
		}) {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, object.Key.Compare)
	return keys
}

// TestInventory: after any sequence of changes the inventory answers as a walk over what is left does.
func TestInventory(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(list ...string) string { return list[random.IntN(len(list))] }
	text := func() string {
		h := someHosts[random.IntN(len(someHosts))].FQDN("cluster.local")
		switch random.IntN(5) {
		case 0:
			return "*" + h[random.IntN(len(h)+1):]
		case 1:
			return pick("cart", "till", "Cart", "cart.prod", "till.shop.svc", "", "*", "cart.example.com", "*.com", "cart.shop.svc.cluster.local.")
		}
		return h
	}
	m := inventoryModel{policy.NewIndex(configOf(t, "{}")), map[object.Key]*object.Object{}}
	found := 0
	for range 3000 {
		k := object.Key{Kind: pick(object.KindDestinationRule, object.KindVirtualService, object.KindServiceEntry), Namespace: pick("shop", "prod"), Name: pick("a", "b", "c")}
		if random.IntN(4) == 0 {
			m.index.DeleteObject(k)
			delete(m.objects, k)
		} else {
			list, err := json.Marshal([]string{text(), text()}[:1+random.IntN(2)])
			if err != nil {
				t.Fatal(err)
			}
			o := objectOf(t, k.Kind, k.Namespace, k.Name, fmt.Sprintf(`"spec": {"hosts": %s, "host": %q}`, list, text()))
			m.index.SetObject(o)
			m.objects[k] = o
		}
		view := m.index.View()
		for _, h := range someHosts {
			got := []object.Key{}
			for _, o := range view.Related(h) {
				if o != m.objects[o.Key()] {
					t.Fatalf("%v is not what was set last", o.Key())
				}
				got = append(got, o.Key())
			}
			if diff := cmp.Diff(m.related(h), got); diff != "" {
				t.Fatalf("%v (-walk +inventory):\n%s", h, diff)
			}
			found += len(got)
		}
		if o, ok := view.Object(k); o != m.objects[k] || ok != (o != nil) {
			t.Fatalf("%v: got %v, %t", k, o, ok)
		}
		if got := m.index.Objects(); len(got) != len(m.objects) || !slices.IsSortedFunc(got, object.Key.Compare) {
			t.Fatalf("objects %v, want those of %v", got, m.objects)
		}
	}
	if found < 1000 {
		t.Errorf("only %d related objects", found)
	}
}

// TestInventoryConcurrently is for the race detector.
func TestInventoryConcurrently(t *testing.T) {
	t.Parallel()
	index := policy.NewIndex(configOf(t, "{}"))
	var mu sync.Mutex
	told := 0
	var group sync.WaitGroup
	for i := range 4 {
		name := fmt.Sprint("rule-", i)
		o := objectOf(t, object.KindDestinationRule, "shop", name, `"spec": {"host": "*.local"}`)
		group.Go(func() {
			index.WatchObjects(func(_, _ *object.Object) {
				mu.Lock()
				defer mu.Unlock()
				told++
			})
			for range 200 {
				index.SetObject(o)
				view := index.View()
				view.Related(host("shop", "cart"))
				view.Delegators(o.Key())
				index.Objects()
				if got, ok := view.Object(o.Key()); !ok || got != o {
					t.Errorf("%s is not there", name)
				}
				index.SetConfig(index.Config())
				index.DeleteObject(o.Key())
			}
		})
	}
	group.Wait()
	if left := index.Objects(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if told < 4*200*2 {
		t.Errorf("told %d times", told)
	}
}
