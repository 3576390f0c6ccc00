package policy_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
)

const domain = ".svc.cluster.local"

func fenced(name string) map[string]string { return map[string]string{policy.FenceKey: name} }

func host(namespace, name string) hostname.Host {
	return hostname.Host{Namespace: namespace, Name: name}
}

func configOf(t testing.TB, scope string) *policy.Config {
	t.Helper()
	return parse(t, minimal+"scope: "+scope+"\n")
}

// answer is what a match says: for the name of each fence a host, and what fences it.
type answer map[string]string

func answerOf(m policy.Match) answer {
	a := answer{}
	for i, name := range policy.Fences() {
		if f := policy.Fence(i); m.Has(f) {
			a[name] = m.Host(f).Host + ", " + m.Host(f).By
		}
	}
	for i, name := range policy.Fences() {
		if f := policy.Fence(i); m.Only(f) != (m.Has(f) && len(a) == 1) {
			a["only "+name] = "is wrong"
		}
	}
	return a
}

func TestMatch(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		host string
		want answer
	}{
		"exact, by annotation":   {"cart.shop" + domain, answer{"strict": "cart.shop" + domain + ", service annotation"}},
		"exact, by namespace":    {"orders-db.prod" + domain, answer{"strict": "orders-db.prod" + domain + ", namespace prod"}},
		"exact, not fenced":      {"web.shop" + domain, answer{"none": "web.shop" + domain + ", config scope.default"}},
		"exact, exempt":          {"dns.kube-system" + domain, answer{"none": "dns.kube-system" + domain + ", exempt namespace kube-system"}},
		"unknown, fenced":        {"new.prod" + domain, answer{"strict": "new.prod" + domain + ", namespace prod"}},
		"unknown, not fenced":    {"new.shop" + domain, answer{"none": "new.shop" + domain + ", config scope.default"}},
		"unknown namespace":      {"a.b" + domain, answer{"none": "a.b" + domain + ", config scope.default"}},
		"upper case":             {"Cart.Shop.SVC.cluster.local", answer{"strict": "cart.shop" + domain + ", service annotation"}},
		"closing dot":            {"cart.shop" + domain + ".", answer{"strict": "cart.shop" + domain + ", service annotation"}},
		"with a namespace only":  {"cart.shop", answer{}},
		"another domain":         {"cart.shop.svc.clusterset.local", answer{}},
		"a pod":                  {"cart-0.cart.shop" + domain, answer{}},
		"outside":                {"example.com", answer{}},
		"IP":                     {"10.0.0.1", answer{}},
		"empty":                  {"", answer{}},
		"dot":                    {".", answer{}},
		"the domain":             {"svc.cluster.local", answer{}},
		"namespace":              {"*.prod" + domain, answer{"strict": "orders-db.prod" + domain + ", namespace prod", "none": "till.prod" + domain + ", service annotation"}},
		"namespace, mixed":       {"*.shop" + domain, answer{"strict": "cart.shop" + domain + ", service annotation", "prefer": "cart-db.shop" + domain + ", service annotation", "none": "web.shop" + domain + ", config scope.default"}},
		"namespace, empty":       {"*.vault" + domain, answer{"strict": "*.vault" + domain + ", namespace vault"}},
		"namespace, unknown":     {"*.b" + domain, answer{}},
		"namespace, exempt":      {"*.kube-system" + domain, answer{"none": "dns.kube-system" + domain + ", exempt namespace kube-system"}},
		"everything":             {"*", everything()},
		"*.local":                {"*.local", everything()},
		"*.cluster.local":        {"*.cluster.local", everything()},
		"*.svc.cluster.local":    {"*" + domain, everything()},
		"part of a label":        {"*vc.cluster.local", everything()},
		"upper-case wildcard":    {"*.SVC.cluster.local", everything()},
		"end of namespaces":      {"*prod" + domain, answer{"strict": "orders-db.prod" + domain + ", namespace prod", "prefer": "*.preprod" + domain + ", namespace preprod", "none": "till.prod" + domain + ", service annotation"}},
		"end of no namespace":    {"*dev" + domain, answer{}},
		"end of services":        {"*-db.shop" + domain, answer{"prefer": "cart-db.shop" + domain + ", service annotation", "none": "web-db.shop" + domain + ", config scope.default"}},
		"end of one service":     {"*art.shop" + domain, answer{"strict": "cart.shop" + domain + ", service annotation"}},
		"end of fenced services": {"*-db.prod" + domain, answer{"strict": "orders-db.prod" + domain + ", namespace prod"}},
		"end of services to be":  {"*-mq.prod" + domain, answer{"strict": "*-mq.prod" + domain + ", namespace prod"}},
		"end of no service":      {"*-mq.shop" + domain, answer{}},
		"pods":                   {"*.cart.shop" + domain, answer{}},
		"pods of the fenced":     {"*.orders-db.prod" + domain, answer{}},
		"no namespace's name":    {"*.a/b" + domain, answer{}},
		"domain without a dot":   {"*xcluster.local", answer{}},
		"two stars":              {"**", answer{}},
		"star inside":            {"cart.*" + domain, answer{}},
		"other domain":           {"*.example.com", answer{}},
		"other domain, svc":      {"*.svc.clusterset.local", answer{}},
	}
	index := policy.NewIndex(configOf(t, "{default: none}"))
	index.SetNamespace("shop", nil)
	index.SetNamespace("prod", fenced("strict"))
	index.SetNamespace("preprod", fenced("prefer"))
	index.SetNamespace("vault", fenced("strict"))
	index.SetNamespace("kube-system", fenced("strict"))
	index.SetService(host("shop", "web"), nil)
	index.SetService(host("shop", "web-db"), nil)
	index.SetService(host("shop", "cart"), fenced("strict"))
	index.SetService(host("shop", "cart-db"), fenced("prefer"))
	index.SetService(host("prod", "orders-db"), nil)
	index.SetService(host("prod", "till"), fenced("none"))
	index.SetService(host("kube-system", "dns"), fenced("strict"))
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tc.want, answerOf(index.View().Match(tc.host))); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.host, diff)
			}
		})
	}
}

func everything() answer {
	return answer{
		"strict": "orders-db.prod" + domain + ", namespace prod",
		"prefer": "cart-db.shop" + domain + ", service annotation",
		"none":   "dns.kube-system" + domain + ", exempt namespace kube-system",
	}
}

// TestMatchToCome: a fence counts for the Services and Namespaces to come.
func TestMatchToCome(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		scope, host string
		want        answer
	}{
		"default, everything":       {"{default: strict}", "*", answer{"strict": "*, config scope.default"}},
		"default, end of namespace": {"{default: strict}", "*prod" + domain, answer{"strict": "*prod" + domain + ", config scope.default"}},
		"default, namespace":        {"{default: strict}", "*.prod" + domain, answer{"strict": "*.prod" + domain + ", config scope.default"}},
		"default, exempt":           {"{default: strict}", "*.kube-system" + domain, answer{}},
		"named":                     {"{namespaces: [{name: prod, fence: strict}]}", "*.prod" + domain, answer{"strict": "*.prod" + domain + ", config scope.namespaces[0]"}},
		"all but one": {"{namespaces: [{selector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: NotIn, values: [web]}]}, fence: prefer}]}",
			"*.local", answer{"prefer": "*.local, config scope.namespaces[0]"}},
		"the one": {"{namespaces: [{selector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: NotIn, values: [web]}]}, fence: prefer}]}",
			"*.web" + domain, answer{}},
		"service": {"{services: [{namespace: shop, name: cart, fence: strict}]}", "cart.shop" + domain, answer{"strict": "cart.shop" + domain + ", config scope.services[0]"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tc.want, answerOf(policy.NewIndex(configOf(t, tc.scope)).View().Match(tc.host))); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.host, diff)
			}
		})
	}
}

func TestMatchInAnotherDomain(t *testing.T) {
	t.Parallel()
	index := policy.NewIndex(parse(t, strings.Replace(minimal, "{clusters: [m1c1]}", "{clusters: [m1c1], clusterDomain: k8s.example}", 1)))
	index.SetService(host("shop", "cart"), fenced("strict"))
	for name, want := range map[string]bool{
		"cart.shop.svc.k8s.example": true, "*.svc.k8s.example": true, "*.example": true, "*": true,
		"cart.shop" + domain: false, "*" + domain: false, "*.local": false,
	} {
		match := index.View().Match(name)
		if match.Has(policy.Strict) != want {
			t.Errorf("%s: strict is %t", name, !want)
		}
	}
}

// TestDeleteInEveryOrder: whatever goes first, what stays is decided by what is left, and at the end
// nothing is known.
func TestDeleteInEveryOrder(t *testing.T) {
	t.Parallel()
	config := configOf(t, "{default: none}")
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		t.Run(fmt.Sprint(order), func(t *testing.T) {
			t.Parallel()
			m := newModel(config)
			steps := []func(){
				func() { m.deleteNamespace("shop") },
				func() { m.deleteService(host("shop", "a")) },
				func() { m.deleteService(host("shop", "b")) },
			}
			m.setNamespace("shop", fenced("prefer"))
			m.setService(host("shop", "a"), fenced("strict"))
			m.setService(host("shop", "b"), nil)
			m.check(t)
			for _, step := range order {
				steps[step]()
				steps[step]() // a second time changes nothing
				m.check(t)
			}
			match := m.index.View().Match("*")
			if got := answerOf(match); len(got) > 0 {
				t.Errorf("still known: %v", got)
			}
		})
	}
}

// TestCount: every Service counts once, for the fence that it has now.
func TestCount(t *testing.T) {
	t.Parallel()
	index := policy.NewIndex(configOf(t, "{default: none}"))
	steps := []struct {
		name string
		do   func()
		want map[string]int
	}{
		{"empty", func() {}, map[string]int{"none": 0, "prefer": 0, "strict": 0}},
		{"unknown namespace", func() { index.SetService(host("shop", "a"), nil) }, map[string]int{"none": 1, "prefer": 0, "strict": 0}},
		{"annotation", func() { index.SetService(host("shop", "b"), fenced("strict")) }, map[string]int{"none": 1, "prefer": 0, "strict": 1}},
		{"other namespace", func() { index.SetService(host("app", "a"), fenced("strict")) }, map[string]int{"none": 1, "prefer": 0, "strict": 2}},
		{"label", func() { index.SetNamespace("shop", fenced("prefer")) }, map[string]int{"none": 0, "prefer": 1, "strict": 2}},
		{"config", func() { index.SetConfig(configOf(t, "{default: strict}")) }, map[string]int{"none": 0, "prefer": 1, "strict": 2}},
		{"annotation again", func() { index.SetService(host("shop", "b"), fenced("none")) }, map[string]int{"none": 1, "prefer": 1, "strict": 1}},
		{"namespace gone", func() { index.DeleteNamespace("shop") }, map[string]int{"none": 1, "prefer": 0, "strict": 2}},
		{"service gone", func() { index.DeleteService(host("app", "a")) }, map[string]int{"none": 1, "prefer": 0, "strict": 1}},
	}
	for _, step := range steps {
		step.do()
		if diff := cmp.Diff(step.want, index.Count()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.name, diff)
		}
	}
}

func TestFencedOf(t *testing.T) {
	t.Parallel()
	index := policy.NewIndex(configOf(t, "{default: none}"))
	index.SetNamespace("shop", fenced("strict"))
	for _, h := range []hostname.Host{host("shop", "a"), host("shop", "b"), host("app", "a"), host("app", "b")} {
		index.SetService(h, nil)
	}
	index.SetService(host("shop", "b"), fenced("none"))
	index.SetService(host("app", "b"), fenced("prefer"))
	for namespace, want := range map[string][]hostname.Host{
		"": {host("app", "b"), host("shop", "a")}, "shop": {host("shop", "a")}, "other": nil,
	} {
		got := index.Fenced(namespace, policy.Prefer, policy.Strict)
		slices.SortFunc(got, func(a, b hostname.Host) int { return strings.Compare(a.Namespace, b.Namespace) })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("in %q (-want +got):\n%s", namespace, diff)
		}
	}
}

func TestIndexConcurrently(t *testing.T) {
	t.Parallel()
	configs := []*policy.Config{configOf(t, "{default: none}"), configOf(t, "{default: strict}")}
	index := policy.NewIndex(configs[0])
	var writers, readers sync.WaitGroup
	stop := make(chan struct{})
	for w := range 3 {
		writers.Go(func() {
			random := rand.New(rand.NewPCG(uint64(w), 0))
			for range 2000 {
				namespace := someNamespaces[random.IntN(len(someNamespaces))]
				h := host(namespace, someServices[random.IntN(len(someServices))])
				switch random.IntN(5) {
				case 0:
					index.SetNamespace(namespace, someFences[random.IntN(len(someFences))])
				case 1:
					index.DeleteNamespace(namespace)
				case 2:
					index.SetService(h, someFences[random.IntN(len(someFences))])
				case 3:
					index.DeleteService(h)
				case 4:
					index.SetConfig(configs[random.IntN(len(configs))])
				}
			}
		})
	}
	for range 3 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				view := index.View()
				for _, name := range somePatterns {
					view.Match(name)
				}
				match := view.Match("a.shop" + domain)
				if len(answerOf(match)) != 1 {
					t.Errorf("an exact host has the fences %v", answerOf(match))
					return
				}
				if view.Config() != configs[0] && view.Config() != configs[1] {
					t.Error("unknown config")
					return
				}
				view.Missing()
				index.Count()
				view.Enforcement("shop", false)
			}
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
}
