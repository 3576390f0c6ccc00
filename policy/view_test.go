package policy_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

func TestMissing(t *testing.T) {
	t.Parallel()
	index := policy.NewIndex(configOf(t, "{default: none}"))
	index.SetNamespace("shop", nil)
	index.SetService(host("shop", "cart"), nil)
	index.SetService(host("late", "till"), nil) // seen before its Namespace
	tests := map[string]struct {
		ask        []string
		namespaces []string
		services   []hostname.Host
	}{
		"known":             {ask: []string{"cart.shop" + domain, "*.shop" + domain, "*", "*.local", "*op" + domain}},
		"outside":           {ask: []string{"example.com", "*.example.com", "cart.shop", ""}},
		"new Service":       {ask: []string{"new.shop" + domain}, services: []hostname.Host{host("shop", "new")}},
		"new Namespace":     {ask: []string{"*.new" + domain}, namespaces: []string{"new"}},
		"narrow wildcard":   {ask: []string{"*-db.new" + domain}, namespaces: []string{"new"}},
		"late Namespace":    {ask: []string{"till.late" + domain}, namespaces: []string{"late"}},
		"exempt":            {ask: []string{"dns.kube-system" + domain}, namespaces: []string{"kube-system"}},
		"name of no object": {ask: []string{"a/b.shop" + domain, "*.a/b" + domain, "*.x.shop" + domain}},
		"sorted, once": {
			ask:        []string{"b.y" + domain, "a.y" + domain, "b.x" + domain, "b.y" + domain},
			namespaces: []string{"x", "y"},
			services:   []hostname.Host{host("x", "b"), host("y", "a"), host("y", "b")},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			view := index.View()
			for _, h := range tc.ask {
				view.Match(h)
			}
			namespaces, services := view.Missing()
			if diff := cmp.Diff(tc.namespaces, namespaces); diff != "" {
				t.Errorf("namespaces (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.services, services); diff != "" {
				t.Errorf("services (-want +got):\n%s", diff)
			}
			for _, namespace := range namespaces {
				view.LoadNamespace(namespace, nil)
			}
			for _, service := range services {
				view.LoadService(service, nil)
			}
			for _, h := range tc.ask {
				view.Match(h)
			}
			if namespaces, services := view.Missing(); len(namespaces)+len(services) > 0 {
				t.Errorf("still missing after the load: %v, %v", namespaces, services)
			}
		})
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	index := policy.NewIndex(configOf(t, "{namespaces: [{selector: {matchLabels: {tier: data}}, fence: prefer}]}"))
	index.SetService(host("late", "till"), nil)
	index.SetService(host("late", "cart"), fenced("none"))
	view := index.View()
	view.LoadNamespace("late", fenced("strict"))
	view.LoadNamespace("new", map[string]string{"tier": "data"})
	view.LoadNamespace("gone", nil)
	view.LoadService(host("new", "a"), fenced("strict"))
	view.LoadService(host("new", "b"), nil)
	for name, want := range map[string]answer{
		"till.late" + domain: {"strict": "till.late" + domain + ", namespace late"},
		"cart.late" + domain: {"none": "cart.late" + domain + ", service annotation"},
		"*.late" + domain:    {"strict": "till.late" + domain + ", namespace late", "none": "cart.late" + domain + ", service annotation"},
		"*ll.late" + domain:  {"strict": "till.late" + domain + ", namespace late"},
		"*ate" + domain:      {"strict": "till.late" + domain + ", namespace late", "none": "cart.late" + domain + ", service annotation"},
		"a.new" + domain:     {"strict": "a.new" + domain + ", service annotation"},
		"b.new" + domain:     {"prefer": "b.new" + domain + ", config scope.namespaces[0]"},
		"*.new" + domain:     {"prefer": "*.new" + domain + ", config scope.namespaces[0]"},
		"a.gone" + domain:    {"none": "a.gone" + domain + ", config scope.default"},
	} {
		if diff := cmp.Diff(want, answerOf(view.Match(name))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if got := view.Service(host("late", "new"), fenced("prefer")); got.Fence != policy.Prefer {
		t.Errorf("Service: got %+v", got)
	}
	if got := view.Service(host("late", "cart"), nil); got.Fence != policy.Strict {
		t.Errorf("Service asks the index, not the annotations given: got %+v", got)
	}
	match := index.View().Match("till.late" + domain)
	if !match.Only(policy.None) {
		t.Error("what one view was told is seen by another")
	}
}

// TestLoadServiceSpec: a Service that exists counts for wildcards and bare names as the view was told, and no
// more as the index says.
func TestLoadServiceSpec(t *testing.T) {
	t.Parallel()
	index := policy.NewIndex(configOf(t, "{default: none}"))
	index.SetNamespace("shop", nil)
	index.SetNamespace("new", nil)
	index.SetService(host("shop", "cart"), nil)
	index.SetService(host("shop", "till"), fenced("prefer"))
	view := index.View()
	for h, annotations := range map[hostname.Host]map[string]string{
		host("shop", "cart"): fenced("strict"), host("shop", "till"): nil, host("new", "cart"): fenced("strict"), host("late", "a"): fenced("prefer"),
	} {
		view.LoadService(h, annotations)
		view.LoadServiceSpec(h, object.ServiceSpec{})
	}
	view.LoadService(host("shop", "ghost"), fenced("strict")) // which may not exist
	cart := "cart.shop" + domain + ", service annotation"
	till := "till.shop" + domain + ", config scope.default"
	for name, want := range map[string]answer{
		"cart.shop" + domain: {"strict": cart},
		"*.shop" + domain:    {"strict": cart, "none": till},
		"*t.shop" + domain:   {"strict": cart},
		"*l.shop" + domain:   {"none": till},
		"*op" + domain:       {"strict": cart, "none": till},
		"*.local":            {"strict": "cart.new" + domain + ", service annotation", "prefer": "a.late" + domain + ", service annotation", "none": till},
		"*.new" + domain:     {"strict": "cart.new" + domain + ", service annotation"},
		"*.late" + domain:    {"prefer": "a.late" + domain + ", service annotation"},
	} {
		if diff := cmp.Diff(want, answerOf(view.Match(name))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for name, want := range map[string]string{"cart": "cart.new" + domain, "till": "", "a": "", "ghost": ""} {
		if got, _ := view.StrictNamed(name); got.Host != want {
			t.Errorf("StrictNamed(%s) is %q, want %q", name, got.Host, want)
		}
	}
	match := index.View().Match("*" + domain)
	if match.Has(policy.Strict) || !match.Has(policy.Prefer) {
		t.Errorf("another view answers %v", answerOf(match))
	}
}

func TestRelabel(t *testing.T) {
	t.Parallel()
	index := policy.NewIndex(configOf(t, "{namespaces: [{selector: {matchLabels: {tier: data}}, fence: prefer}]}"))
	labels := fenced("strict")
	index.SetNamespace("shop", labels)
	index.SetService(host("shop", "cart"), nil)
	labels[policy.FenceKey] = "prefer"
	index.SetConfig(index.Config()) // decides anew, and must not notice what the caller did to its map
	for _, step := range []struct {
		change func()
		want   answer
	}{
		{func() {}, answer{"strict": "cart.shop" + domain + ", namespace shop"}},
		{func() { index.SetNamespace("shop", fenced("prefer")) }, answer{"prefer": "cart.shop" + domain + ", namespace shop"}},
		{func() { index.SetNamespace("shop", map[string]string{"tier": "data"}) }, answer{"prefer": "cart.shop" + domain + ", config scope.namespaces[0]"}},
		{func() { index.SetNamespace("shop", map[string]string{"team": "x"}) }, answer{"none": "cart.shop" + domain + ", config scope.default"}},
		{func() { index.SetService(host("shop", "cart"), fenced("strict")) }, answer{"strict": "cart.shop" + domain + ", service annotation"}},
		{func() { index.SetService(host("shop", "cart"), map[string]string{"team": "x"}) }, answer{"none": "cart.shop" + domain + ", config scope.default"}},
	} {
		step.change()
		for _, name := range []string{"cart.shop" + domain, "*.shop" + domain, "*"} {
			if diff := cmp.Diff(step.want, answerOf(index.View().Match(name))); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
	}
}

// TestSetConfig: a new config counts for new views; a view that has begun stays with its own.
func TestSetConfig(t *testing.T) {
	t.Parallel()
	before, after := configOf(t, "{default: prefer}"), configOf(t, "{default: strict}")
	index := policy.NewIndex(before)
	index.SetNamespace("shop", nil)
	index.SetNamespace("web", fenced("strict"))
	index.SetService(host("shop", "cart"), nil)
	old := index.View()
	index.SetConfig(after)
	if index.Config() != after || old.Config() != before {
		t.Error("the config is not the one that was set")
	}
	for _, name := range []string{"cart.shop" + domain, "*.shop" + domain, "*rt.shop" + domain, "*op" + domain, "new.new" + domain} {
		oldMatch, newMatch := old.Match(name), index.View().Match(name)
		if !oldMatch.Only(policy.Prefer) || !newMatch.Only(policy.Strict) {
			t.Errorf("%s: got %v in the old view and %v in a new one", name, answerOf(oldMatch), answerOf(newMatch))
		}
	}
	match := old.Match("x.web" + domain)
	if !match.Only(policy.Strict) {
		t.Errorf("the old view lost the label of a Namespace: %v", answerOf(match))
	}
}

func TestViewAllocatesLittle(t *testing.T) {
	index := policy.NewIndex(configOf(t, "{namespaces: [{name: shop, fence: strict, locked: true}]}"))
	index.SetNamespace("shop", nil)
	index.SetService(host("shop", "cart"), nil)
	for name, limit := range map[string]float64{"example.com": 1, "cart.shop" + domain: 1} {
		if got := testing.AllocsPerRun(100, func() { index.View().Match(name) }); got > limit {
			t.Errorf("%s: %v allocations, want at most %v", name, got, limit)
		}
	}
}
