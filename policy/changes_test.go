package policy_test

import (
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

func TestSubscribe(t *testing.T) {
	t.Parallel()
	other := policy.Change{Namespace: "shop", Service: "cart"}
	elsewhere := ports("http")
	elsewhere.Type, elsewhere.ExternalName = "ExternalName", "example.com"
	tests := map[string]struct {
		change func(*policy.Index)
		want   []policy.Change
	}{
		"another config":                    {func(x *policy.Index) { x.SetConfig(x.Config()) }, []policy.Change{{}}},
		"a label that fences":               {func(x *policy.Index) { x.SetNamespace("shop", fenced("strict")) }, []policy.Change{{Namespace: "shop"}}},
		"a label that does not":             {func(x *policy.Index) { x.SetNamespace("shop", map[string]string{"a": "b"}) }, nil},
		"a fenced namespace that goes":      {func(x *policy.Index) { x.DeleteNamespace("prod") }, []policy.Change{{Namespace: "prod"}}},
		"a namespace that goes":             {func(x *policy.Index) { x.DeleteNamespace("shop") }, nil},
		"an annotation":                     {func(x *policy.Index) { x.SetService(host("shop", "cart"), fenced("prefer")) }, []policy.Change{other}},
		"an annotation that goes":           {func(x *policy.Index) { x.SetService(host("prod", "orders"), nil) }, []policy.Change{{"prod", "orders"}}},
		"the same annotation":               {func(x *policy.Index) { x.SetService(host("prod", "orders"), fenced("strict")) }, nil},
		"a service that comes":              {func(x *policy.Index) { x.SetService(host("shop", "new"), nil) }, []policy.Change{{"shop", "new"}}},
		"a port of another protocol":        {func(x *policy.Index) { x.SetServiceSpec(host("prod", "orders"), ports("http", "tcp")) }, []policy.Change{{"prod", "orders"}}},
		"a port of the same protocol":       {func(x *policy.Index) { x.SetServiceSpec(host("prod", "orders"), ports("http", "grpc")) }, nil},
		"a port where nothing is strict":    {func(x *policy.Index) { x.SetServiceSpec(host("shop", "cart"), ports("tcp")) }, nil},
		"another one of the same name":      {func(x *policy.Index) { x.SetUID(host("prod", "orders"), "2") }, []policy.Change{{"prod", "orders"}}},
		"the same one":                      {func(x *policy.Index) { x.SetUID(host("prod", "orders"), "1") }, nil},
		"another one where nothing is held": {func(x *policy.Index) { x.SetUID(host("shop", "cart"), "2") }, nil},
		"one that was never there":          {func(x *policy.Index) { x.SetUID(host("prod", "none"), "2") }, nil},
		"one that becomes another name":     {func(x *policy.Index) { x.SetServiceSpec(host("prod", "orders"), elsewhere) }, []policy.Change{{"prod", "orders"}}},
		"a service that goes":               {func(x *policy.Index) { x.DeleteService(host("shop", "cart")) }, []policy.Change{other}},
		"a service that was never there":    {func(x *policy.Index) { x.DeleteService(host("shop", "none")) }, nil},
		"a namespace that was never there":  {func(x *policy.Index) { x.DeleteNamespace("none") }, nil},
		"a service before its namespace is": {func(x *policy.Index) { x.SetService(host("late", "a"), nil) }, []policy.Change{{"late", "a"}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := policy.NewIndex(configOf(t, "{}"))
			x.SetNamespace("prod", fenced("strict"))
			x.SetNamespace("shop", nil)
			x.SetService(host("prod", "orders"), fenced("strict"))
			x.SetService(host("shop", "cart"), nil)
			x.SetServiceSpec(host("prod", "orders"), ports("http"))
			x.SetServiceSpec(host("shop", "cart"), ports("http"))
			x.SetUID(host("prod", "orders"), "1")
			x.SetUID(host("shop", "cart"), "1")
			var got []policy.Change
			cancel := x.Subscribe(func(c policy.Change) {
				x.SetService(host("elsewhere", "a"), nil) // would block if the lock were held
				got = append(got, c)
			})
			x.SetService(host("elsewhere", "a"), nil)
			got = nil
			test.change(x)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("changes (-want +got):\n%s", diff)
			}
			cancel()
			got = nil
			x.SetConfig(x.Config())
			if len(got) > 0 {
				t.Errorf("told of %v after the subscription ended", got)
			}
		})
	}
}

// TestEveryChangeIsTold makes changes at random and demands that each decision that is another one afterwards
// lies in a change that was told.
func TestEveryChangeIsTold(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	configs := []*policy.Config{
		configOf(t, "{}"), configOf(t, "{default: strict}"), configOf(t, "{namespaces: [{name: a, fence: prefer}]}"),
	}
	names, fences := []string{"a", "b", "c"}, []map[string]string{nil, fenced("none"), fenced("prefer"), fenced("strict"), fenced("unknown")}
	var hosts []hostname.Host
	for _, namespace := range names {
		for _, name := range names {
			hosts = append(hosts, host(namespace, name))
		}
	}
	x := policy.NewIndex(configs[0])
	decisions := func() map[hostname.Host]string {
		all, view := map[hostname.Host]string{}, x.View()
		for _, h := range hosts {
			m := view.Match(h.FQDN("cluster.local"))
			for i, name := range policy.Fences() {
				if m.Has(policy.Fence(i)) {
					all[h] = name
				}
			}
		}
		return all
	}
	told := map[policy.Change]bool{}
	x.Subscribe(func(c policy.Change) { told[c] = true })
	differed := 0
	for range 2000 {
		before := decisions()
		clear(told)
		h, values := hosts[random.IntN(len(hosts))], fences[random.IntN(len(fences))]
		switch random.IntN(5) {
		case 0:
			x.SetConfig(configs[random.IntN(len(configs))])
		case 1:
			x.SetNamespace(h.Namespace, values)
		case 2:
			x.DeleteNamespace(h.Namespace)
		case 3:
			x.SetService(h, values)
		case 4:
			x.DeleteService(h)
		}
		for h, was := range before {
			if is := decisions()[h]; is != was {
				differed++
				if !told[policy.Change{}] && !told[policy.Change{Namespace: h.Namespace}] && !told[policy.Change{Namespace: h.Namespace, Service: h.Name}] {
					t.Fatalf("%v went from %s to %s, told were %v", h, was, is, told)
				}
			}
		}
	}
	if differed < 100 {
		t.Errorf("only %d decisions changed", differed)
	}
}

func ports(names ...string) object.ServiceSpec {
	var spec object.ServiceSpec
	for i, name := range names {
		spec.Ports = append(spec.Ports, object.ServicePort{Name: name, Port: int64(8080 + i)})
	}
	return spec
}
