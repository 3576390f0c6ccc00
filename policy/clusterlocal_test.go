package policy_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
)

// clusterLocalIndex builds an index from "ns", "ns=fence", "ns/service" and "ns/service=fence".
func clusterLocalIndex(t testing.TB, scope, cluster string) *policy.Index {
	t.Helper()
	config, err := policy.ParseConfig(policy.Source{File: "config"}, []byte(
		"apiVersion: config.meshfence.io/v1alpha1\nkind: FenceConfig\nholds: [meshConfig]\n"+
			"controlPlane: {clusters: [c1]}\nscope: {"+scope+"}\n"))
	if err != nil {
		t.Fatal(err)
	}
	index := policy.NewIndex(config)
	for _, object := range strings.Fields(cluster) {
		name, fence, fenced := strings.Cut(object, "=")
		var values map[string]string
		if fenced {
			values = map[string]string{policy.FenceKey: fence}
		}
		if namespace, service, ok := strings.Cut(name, "/"); ok {
			index.SetService(hostname.Host{Namespace: namespace, Name: service}, values)
		} else {
			index.SetNamespace(name, values)
		}
	}
	return index
}

// clusterLocalHosts writes entries as "*.shop !web.shop"; ! is clusterLocal: false.
func clusterLocalHosts(entries []policy.ClusterLocalEntry) string {
	var hosts []string
	for _, e := range entries {
		host := strings.TrimSuffix(strings.TrimSuffix(e.Host, "svc.cluster.local"), ".")
		if !e.Local {
			host = "!" + host
		}
		hosts = append(hosts, host)
	}
	return strings.Join(hosts, " ")
}

func TestClusterLocal(t *testing.T) {
	t.Parallel()
	const noExempt = "exemptNamespaces: [], "
	tests := map[string]struct {
		scope, cluster string
		want           string
		folded         string // want where empty
	}{
		"nothing":                           {cluster: "shop shop/web kube-system kube-system/dns"},
		"service":                           {cluster: "shop shop/web=strict shop/cart", want: "web.shop"},
		"prefer is not local":               {scope: "default: prefer", cluster: "shop=prefer shop/web=prefer"},
		"namespace":                         {cluster: "shop=strict shop/web", want: "*.shop"},
		"namespace without a service":       {cluster: "shop=strict", want: "*.shop"},
		"exception in a namespace":          {cluster: "shop=strict shop/web=none shop/cart=prefer shop/db", want: "*.shop !cart.shop !web.shop"},
		"namespace known by a service only": {scope: noExempt + "default: strict", cluster: "shop/web=none", want: "* !web.shop"},
		"everything": {
			scope: "default: strict", cluster: "shop shop/web lab=none lab/x",
			want: "* !*.istio-system !*.kube-node-lease !*.kube-public !*.lab !*.meshfence-system",
		},
		"three levels": {
			scope: noExempt + "default: strict", cluster: "lab=prefer lab/keep=strict lab/x shop=strict shop/web=none",
			want: "* !*.lab keep.lab !web.shop",
		},
		"unknown value counts as absent": {scope: noExempt + "default: strict", cluster: "shop=tight shop/web=loose", want: "*"},
		"locked namespace":               {scope: "namespaces: [{name: shop, fence: strict, locked: true}]", cluster: "shop=none shop/web=none", want: "*.shop"},
		"locked service": {
			scope: "services: [{namespace: shop, name: web, fence: strict, locked: true}]", cluster: "shop shop/web=none shop/cart", want: "web.shop",
		},
		"selector": {
			scope: "namespaces: [{selector: {matchLabels: {kubernetes.io/metadata.name: shop}}, fence: strict}]", cluster: "shop lab", want: "*.shop",
		},
		"named before they exist": {
			scope: noExempt + "namespaces: [{name: pay, fence: strict}], services: [{namespace: shop, name: web, fence: strict}, {namespace: pay, name: api, fence: none}]",
			want:  "*.pay !api.pay web.shop",
		},
		"named and there": {
			scope: "services: [{namespace: shop, name: web, fence: strict}]", cluster: "shop shop/web", want: "web.shop",
		},
		"exempt namespace": {
			scope: "exemptNamespaces: [lab]", cluster: "lab=strict lab/x=strict",
		},
		"Istio's defaults": {
			scope:   "default: strict, exemptNamespaces: [kube-system, default, istio-system]",
			cluster: "kube-system kube-system/dns default default/kubernetes istio-system istio-system/istiod istio-system/gateway",
			want:    "* !*.default !*.istio-system",
		},
		"Istio's defaults, annotated": {
			scope:   noExempt + "default: strict",
			cluster: "kube-system=none kube-system/dns=none default/kubernetes=none istio-system/istiod=none istio-system/istiod-1-31=none istio-system/gateway=none default/istiod=none",
			want:    "* !gateway.istio-system !istiod.default",
		},
		"the API server": {
			scope:   noExempt + "default: strict, services: [{namespace: default, name: kubernetes, fence: strict, locked: true}]",
			cluster: "default=strict default/kubernetes=strict default/web", want: "*",
		},
		"the API server alone": {
			scope: "services: [{namespace: default, name: kubernetes, fence: strict}]", cluster: "default default/kubernetes=strict",
		},
		"kube-system fenced": {
			scope: noExempt + "default: strict", cluster: "kube-system kube-system/dns=none kube-system/x", want: "* *.kube-system",
		},
		"kube-system fenced alone": {
			scope: noExempt, cluster: "kube-system=strict kube-system/dns=none", want: "*.kube-system",
		},
		"one service of kube-system": {
			scope: noExempt, cluster: "kube-system kube-system/dns=strict", want: "dns.kube-system",
		},
		"fold": {
			cluster: "shop shop/web=strict shop/cart=strict lab lab/x=strict pay pay/a=strict pay/b=strict pay/c",
			want:    "a.pay b.pay cart.shop web.shop x.lab",
			folded:  "*.shop a.pay b.pay x.lab",
		},
		"fold inside a strict domain": {
			scope: noExempt + "default: strict", cluster: "shop=none shop/web=strict shop/cart=strict",
			want: "* !*.shop cart.shop web.shop", folded: "*",
		},
		"fold never loosens": {
			cluster: "shop=strict shop/web=none shop/cart=none", want: "*.shop !cart.shop !web.shop",
		},
		"fold keeps a looser service to come": {
			scope:   "namespaces: [{name: shop, fence: none}], services: [{namespace: shop, name: later, fence: none}]",
			cluster: "shop/web=strict shop/cart=strict", want: "cart.shop web.shop", folded: "*.shop !later.shop",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			index := clusterLocalIndex(t, tt.scope, tt.cluster)
			if diff := cmp.Diff(tt.want, clusterLocalHosts(index.ClusterLocal())); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			folded := tt.folded
			if folded == "" {
				folded = tt.want
			}
			if diff := cmp.Diff(folded, clusterLocalHosts(index.FoldedClusterLocal())); diff != "" {
				t.Errorf("folded -want +got:\n%s", diff)
			}
		})
	}
}

// TestClusterLocalDecides compares what Istio makes of the entries with the fence of every Service of
// random clusters, and the folded entries with the full ones.
func TestClusterLocalDecides(t *testing.T) {
	t.Parallel()
	fences := []string{"", "=none", "=prefer", "=strict"}
	scopes := []string{
		"", "default: strict", "exemptNamespaces: [], default: strict",
		"exemptNamespaces: [n0], namespaces: [{name: n1, fence: strict, locked: true}, {name: n2, fence: none}], services: [{namespace: n2, name: s1, fence: strict}]",
	}
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 5))
		var cluster []string
		for n := range 4 {
			if r.IntN(4) > 0 {
				cluster = append(cluster, fmt.Sprintf("n%d%s", n, fences[r.IntN(4)]))
			}
			for s := range r.IntN(4) {
				cluster = append(cluster, fmt.Sprintf("n%d/s%d%s", n, s, fences[r.IntN(4)]))
			}
		}
		index := clusterLocalIndex(t, scopes[r.IntN(len(scopes))], strings.Join(cluster, " "))
		entries, folded, view := index.ClusterLocal(), index.FoldedClusterLocal(), index.View()
		for n := range 4 {
			for s := range 4 {
				host := fmt.Sprintf("s%d.n%d.svc.cluster.local", s, n)
				match := view.Match(host)
				strict := match.Has(policy.Strict)
				if got := mostSpecific(entries, host); got != strict {
					t.Errorf("seed %d: %s: want %t, got %t from %s", seed, host, strict, got, clusterLocalHosts(entries))
				}
				exists := slices.ContainsFunc(cluster, func(o string) bool { return strings.HasPrefix(o+"=", fmt.Sprintf("n%d/s%d=", n, s)) })
				if got := mostSpecific(folded, host); got != strict && (exists || strict) {
					t.Errorf("seed %d: %s: want %t, got %t from folded %s", seed, host, strict, got, clusterLocalHosts(folded))
				}
			}
		}
		if len(folded) > len(entries) {
			t.Errorf("seed %d: %d folded entries for %d", seed, len(folded), len(entries))
		}
	}
}

// mostSpecific reads entries as istiod does (docs/istio.md, section 1.1).
func mostSpecific(entries []policy.ClusterLocalEntry, host string) bool {
	best := policy.ClusterLocalEntry{}
	for _, e := range entries {
		suffix, wildcard := strings.CutPrefix(e.Host, "*")
		if e.Host == host {
			return e.Local
		}
		if wildcard && strings.HasSuffix(host, suffix) && len(e.Host) > len(best.Host) {
			best = e
		}
	}
	return best.Local
}

func BenchmarkClusterLocal(b *testing.B) {
	var cluster []string
	for i := range 100000 {
		cluster = append(cluster, fmt.Sprintf("n%d/s%d%s", i%1000, i, []string{"", "", "", "", "=strict"}[i%5]))
	}
	index := clusterLocalIndex(b, "", strings.Join(cluster, " "))
	b.ReportAllocs()
	for b.Loop() {
		if got := len(index.ClusterLocal()); got != 20000 {
			b.Fatal(got)
		}
	}
}
