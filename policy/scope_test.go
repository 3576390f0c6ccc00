package policy_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
)

func TestDecision(t *testing.T) {
	t.Parallel()
	const (
		byDefault = "config scope.default"
		first     = "config scope.namespaces[0]"
		service   = "config scope.services[0]"
	)
	fence := func(name string) map[string]string { return map[string]string{policy.FenceKey: name} }
	tests := map[string]struct {
		scope       string
		namespace   map[string]string
		annotations map[string]string
		want        policy.Decision
	}{
		"nothing": {want: policy.Decision{By: byDefault}},
		"default": {
			scope: "{default: prefer}",
			want:  policy.Decision{Fence: policy.Prefer, By: byDefault},
		},
		"namespace entry over default": {
			scope: "{default: strict, namespaces: [{name: shop, fence: prefer}]}",
			want:  policy.Decision{Fence: policy.Prefer, By: first},
		},
		"namespace entry of another namespace": {
			scope: "{default: strict, namespaces: [{name: shop2, fence: prefer}]}",
			want:  policy.Decision{Fence: policy.Strict, By: byDefault},
		},
		"selector entry over default": {
			scope:     "{namespaces: [{selector: {matchLabels: {tier: data}}, fence: prefer}]}",
			namespace: map[string]string{"tier": "data"},
			want:      policy.Decision{Fence: policy.Prefer, By: first},
		},
		"selector that does not match": {
			scope:     "{namespaces: [{selector: {matchLabels: {tier: data}}, fence: prefer}]}",
			namespace: map[string]string{"tier": "web"},
			want:      policy.Decision{By: byDefault},
		},
		"selector on the name, which every namespace has as a label": {
			scope: "{namespaces: [{selector: {matchLabels: {kubernetes.io/metadata.name: shop}}, fence: prefer}]}",
			want:  policy.Decision{Fence: policy.Prefer, By: first},
		},
		"selector on the absence of a label": {
			scope: "{namespaces: [{selector: {matchExpressions: [{key: tier, operator: DoesNotExist}]}, fence: prefer}]}",
			want:  policy.Decision{Fence: policy.Prefer, By: first},
		},
		"selector against the name": {
			scope: "{namespaces: [{selector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: NotIn, values: [shop]}]}, fence: prefer}]}",
			want:  policy.Decision{By: byDefault},
		},
		"first of two namespace entries": {
			scope:     "{namespaces: [{selector: {matchLabels: {tier: data}}, fence: prefer}, {name: shop, fence: strict}]}",
			namespace: map[string]string{"tier": "data"},
			want:      policy.Decision{Fence: policy.Prefer, By: first},
		},
		"the entries count in their order": {
			scope: "{namespaces: [{name: other, fence: strict}, {name: shop, fence: prefer}, {selector: {matchLabels: {tier: data}}, fence: none}, " +
				"{name: shop, fence: none, locked: true}, {selector: {matchLabels: {tier: data}}, fence: strict, locked: true}, {name: shop, fence: strict, locked: true}]}",
			namespace: map[string]string{"tier": "data"},
			want:      policy.Decision{Fence: policy.Strict, By: "config scope.namespaces[4] (locked)", Locked: true},
		},
		"the first is the one that selects": {
			scope:     "{namespaces: [{selector: {matchLabels: {tier: data}}, fence: none}, {name: shop, fence: strict}, {selector: {matchLabels: {tier: data}}, fence: strict}]}",
			namespace: map[string]string{"tier": "data"},
			want:      policy.Decision{By: first},
		},
		"namespace label over namespace entry": {
			scope:     "{namespaces: [{name: shop, fence: strict}]}",
			namespace: fence("none"),
			want:      policy.Decision{By: "namespace shop"},
		},
		"service entry over namespace label": {
			scope:     "{services: [{namespace: shop, name: cart, fence: prefer}]}",
			namespace: fence("strict"),
			want:      policy.Decision{Fence: policy.Prefer, By: service},
		},
		"service entry of another namespace": {
			scope:     "{services: [{namespace: shop2, name: cart, fence: prefer}]}",
			namespace: fence("strict"),
			want:      policy.Decision{Fence: policy.Strict, By: "namespace shop"},
		},
		"annotation over everything": {
			scope:       "{default: strict, namespaces: [{name: shop, fence: strict}], services: [{namespace: shop, name: cart, fence: strict}]}",
			namespace:   fence("strict"),
			annotations: fence("none"),
			want:        policy.Decision{By: "service annotation"},
		},
		"unknown annotation": {
			namespace:   fence("strict"),
			annotations: fence("Strict"),
			want:        policy.Decision{Fence: policy.Strict, By: "namespace shop", Ignored: "annotation meshfence.io/fence"},
		},
		"empty annotation": {
			annotations: fence(""),
			want:        policy.Decision{By: byDefault, Ignored: "annotation meshfence.io/fence"},
		},
		"unknown label": {
			scope:     "{namespaces: [{name: shop, fence: prefer}]}",
			namespace: fence("yes"),
			want:      policy.Decision{Fence: policy.Prefer, By: first, Ignored: "label meshfence.io/fence of namespace shop"},
		},
		"unknown label below a good annotation": {
			namespace:   fence("yes"),
			annotations: fence("strict"),
			want: policy.Decision{Fence: policy.Strict, By: "service annotation",
				Ignored: "label meshfence.io/fence of namespace shop"},
		},

		"lock from a namespace entry": {
			scope:       "{namespaces: [{name: shop, fence: prefer, locked: true}]}",
			annotations: fence("none"),
			want:        policy.Decision{Fence: policy.Prefer, By: first + " (locked)", Locked: true},
		},
		"lock that decides": {
			scope: "{namespaces: [{name: shop, fence: strict, locked: true}]}",
			want:  policy.Decision{Fence: policy.Strict, By: first + " (locked)", Locked: true},
		},
		"lock may be tightened": {
			scope:       "{namespaces: [{name: shop, fence: prefer, locked: true}]}",
			annotations: fence("strict"),
			want:        policy.Decision{Fence: policy.Strict, By: "service annotation", Locked: true},
		},
		"lock agreed with": {
			scope:       "{namespaces: [{name: shop, fence: strict, locked: true}]}",
			annotations: fence("strict"),
			want:        policy.Decision{Fence: policy.Strict, By: "service annotation", Locked: true},
		},
		"lock from a selector entry, against the label": {
			scope:     "{namespaces: [{selector: {matchLabels: {tier: data}}, fence: strict, locked: true}]}",
			namespace: map[string]string{"tier": "data", policy.FenceKey: "none"},
			want:      policy.Decision{Fence: policy.Strict, By: first + " (locked)", Locked: true},
		},
		"lock from a selector entry that does not match": {
			scope:       "{namespaces: [{selector: {matchLabels: {tier: data}}, fence: strict, locked: true}]}",
			annotations: fence("none"),
			want:        policy.Decision{By: "service annotation"},
		},
		"lock from a later entry": {
			scope: "{namespaces: [{name: shop, fence: none}, {selector: {matchExpressions: [{key: x, operator: DoesNotExist}]}, fence: prefer, locked: true}]}",
			want:  policy.Decision{Fence: policy.Prefer, By: "config scope.namespaces[1] (locked)", Locked: true},
		},
		"lock from a service entry": {
			scope:       "{services: [{namespace: shop, name: cart, fence: strict, locked: true}]}",
			annotations: fence("prefer"),
			want:        policy.Decision{Fence: policy.Strict, By: service + " (locked)", Locked: true},
		},
		"lock of the namespace against a service entry": {
			scope: "{namespaces: [{name: shop, fence: strict, locked: true}], services: [{namespace: shop, name: cart, fence: none}]}",
			want:  policy.Decision{Fence: policy.Strict, By: first + " (locked)", Locked: true},
		},
		"tightest lock: the service's": {
			scope:       "{namespaces: [{name: shop, fence: prefer, locked: true}], services: [{namespace: shop, name: cart, fence: strict, locked: true}]}",
			annotations: fence("none"),
			want:        policy.Decision{Fence: policy.Strict, By: service + " (locked)", Locked: true},
		},
		"tightest lock: the namespace's": {
			scope: "{namespaces: [{name: shop, fence: strict, locked: true}], services: [{namespace: shop, name: cart, fence: prefer, locked: true}]}",
			want:  policy.Decision{Fence: policy.Strict, By: first + " (locked)", Locked: true},
		},
		"tightest lock: the second namespace entry's": {
			scope:       "{namespaces: [{name: shop, fence: prefer, locked: true}, {name: shop, fence: strict, locked: true}]}",
			annotations: fence("none"),
			want:        policy.Decision{Fence: policy.Strict, By: "config scope.namespaces[1] (locked)", Locked: true},
		},
		"lock at none holds nothing": {
			scope:       "{namespaces: [{name: shop, fence: none, locked: true}]}",
			annotations: fence("none"),
			want:        policy.Decision{By: "service annotation", Locked: true},
		},
		"unknown annotation below a lock": {
			scope:       "{namespaces: [{name: shop, fence: prefer, locked: true}]}",
			annotations: fence("never"),
			want: policy.Decision{Fence: policy.Prefer, By: first + " (locked)", Locked: true,
				Ignored: "annotation meshfence.io/fence"},
		},

		"exempt": {
			scope:       "{default: strict, exemptNamespaces: [shop], namespaces: [{selector: {matchLabels: {tier: data}}, fence: strict, locked: true}]}",
			namespace:   map[string]string{"tier": "data", policy.FenceKey: "strict"},
			annotations: fence("strict"),
			want:        policy.Decision{By: "exempt namespace shop", Exempt: true},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := parse(t, minimal+"scope: "+tc.scope+"\n")
			scope := config.Namespace("shop", tc.namespace)
			if diff := cmp.Diff(tc.want, scope.Service("cart", tc.annotations)); diff != "" {
				t.Errorf("decision (-want +got):\n%s", diff)
			}
			index := policy.NewIndex(config)
			index.SetNamespace("shop", tc.namespace)
			index.SetService(hostname.Host{Namespace: "shop", Name: "cart"}, tc.annotations)
			match := index.View().Match("cart.shop.svc.cluster.local")
			if !match.Only(tc.want.Fence) {
				t.Fatalf("the index does not say %s alone", tc.want.Fence)
			}
			if diff := cmp.Diff(tc.want, match.Host(tc.want.Fence).Decision); diff != "" {
				t.Errorf("decision of the index (-want +got):\n%s", diff)
			}
		})
	}
}

func TestExemptByDefault(t *testing.T) {
	t.Parallel()
	source := source()
	source.InstallNamespace = "fences"
	config, err := policy.ParseConfig(source, []byte(
		"apiVersion: config.meshfence.io/v1alpha1\nkind: FenceConfig\nholds: [meshConfig]\nscope: {default: strict}\n"+
			"controlPlane: {clusters: [m1c1], istioNamespace: mesh}\n"))
	if err != nil {
		t.Fatal(err)
	}
	for namespace, want := range map[string]bool{
		"kube-system": true, "kube-public": true, "kube-node-lease": true, "mesh": true, "fences": true,
		"istio-system": false, "meshfence-system": false, "default": false,
	} {
		if got := config.Namespace(namespace, nil).Service("s", nil); got.Exempt != want || (got.Fence == policy.None) != want {
			t.Errorf("%s: got %+v, want exempt: %t", namespace, got, want)
		}
	}
}

func TestEnforcement(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		label  map[string]string
		locked bool
		want   policy.Enforcement
	}{
		"of the config":      {want: policy.Warn},
		"of the namespace":   {label: map[string]string{policy.EnforcementLabel: "audit"}, want: policy.Audit},
		"tighter":            {label: map[string]string{policy.EnforcementLabel: "enforce"}, want: policy.Enforce},
		"unknown":            {label: map[string]string{policy.EnforcementLabel: "off"}, want: policy.Warn},
		"on a locked host":   {label: map[string]string{policy.EnforcementLabel: "audit"}, locked: true, want: policy.Warn},
		"locked and tighter": {label: map[string]string{policy.EnforcementLabel: "enforce"}, locked: true, want: policy.Warn},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, namespace := range []string{"shop", "kube-system"} {
				index := policy.NewIndex(parse(t, minimal+"enforcement: warn\n"))
				index.SetNamespace(namespace, tc.label)
				if got := index.View().Enforcement(namespace, tc.locked); got != tc.want {
					t.Errorf("%s: got %s, want %s", namespace, got, tc.want)
				}
			}
		})
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	for want, name := range policy.Fences() {
		if got, ok := policy.ParseFence(name); !ok || int(got) != want || got.String() != name {
			t.Errorf("fence %q: got %v, %t", name, got, ok)
		}
	}
	policy.Fences()[0] = "changed"
	if got := policy.None.String(); got != "none" {
		t.Errorf("a caller of Fences changed the name to %q", got)
	}
	all := policy.HoldsOf(policy.Subset, policy.MeshConfig, policy.Locality)
	for _, name := range all.Names() {
		hold, ok := policy.ParseHold(name)
		only := policy.HoldsOf(hold)
		if !ok || only.String() != name || !only.Only(hold) || !all.Has(hold) || all.Only(hold) || !all.Intersects(only) {
			t.Errorf("hold %q: got %v, %t", name, only, ok)
		}
	}
	if got, want := all.String(), "meshConfig, locality, subset"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if policy.HoldsOf(policy.Subset).Intersects(policy.HoldsOf(policy.MeshConfig)) {
		t.Error("different holds intersect")
	}
	if diff := cmp.Diff(map[string]string{"meshfence-local": "m1c1"}, policy.ReservedSubsets([]string{"m1c1"})); diff != "" {
		t.Errorf("reserved subsets (-want +got):\n%s", diff)
	}
	several := policy.ReservedSubsets([]string{"m1c1", "m1c2"})
	if diff := cmp.Diff(map[string]string{"meshfence-m1c1": "m1c1", "meshfence-m1c2": "m1c2"}, several); diff != "" {
		t.Errorf("reserved subsets (-want +got):\n%s", diff)
	}
	for name := range several {
		if !policy.IsReservedSubset(name) {
			t.Errorf("%s is not reserved", name)
		}
	}
	if policy.IsReservedSubset("v1") {
		t.Error("v1 is reserved")
	}
}

// TestAPIServerIsExempt: every operator in the mesh calls the API server, and so nothing fences its Service.
func TestAPIServerIsExempt(t *testing.T) {
	t.Parallel()
	strict := fenced("strict")
	exempt := policy.Decision{By: "exempt Service default/kubernetes", Exempt: true}
	for name, scope := range map[string]string{
		"by default": "{default: strict}",
		"by name":    "{services: [{namespace: default, name: kubernetes, fence: strict}]}",
		"locked":     "{namespaces: [{name: default, fence: strict, locked: true}]}",
		"nothing":    "{default: none}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := configOf(t, scope)
			if diff := cmp.Diff(exempt, config.Namespace("default", strict).Service("kubernetes", strict)); diff != "" {
				t.Errorf("decision (-want +got):\n%s", diff)
			}
			for _, other := range []hostname.Host{host("default", "web"), host("shop", "kubernetes")} {
				if d := config.Namespace(other.Namespace, strict).Service(other.Name, strict); d.Fence != policy.Strict {
					t.Errorf("%v is %s, want strict", other, d.Fence)
				}
			}
			index := policy.NewIndex(config)
			index.SetNamespace("default", strict)
			for wildcard, covered := range map[string]bool{"*.default" + domain: true, "*netes.default" + domain: true, "*-db.default" + domain: false} {
				match := index.View().Match(wildcard)
				if match.Only(policy.Strict) == covered {
					t.Errorf("%s covers the API server: %t, want %t", wildcard, !covered, covered)
				}
			}
		})
	}
}

// Eight times the Namespaces that a config names take some eight times as long. Where every entry is looked at for each
// Namespace it is 64 times.
func TestCostOfNamespaces(t *testing.T) {
	took := func(n int) time.Duration {
		var entries strings.Builder
		for i := range n {
			fmt.Fprintf(&entries, "{name: n%d, fence: strict},", i)
		}
		config := parse(t, minimal+"scope: {namespaces: ["+entries.String()+"]}")
		index := policy.NewIndex(config)
		for i := range n {
			index.SetNamespace("n"+strconv.Itoa(i), nil)
		}
		start := time.Now()
		index.SetConfig(config)
		index.ClusterLocal()
		return time.Since(start)
	}
	few, many := took(1000), took(8000)
	for range 9 { // others may run: the least counts
		if few, many = min(few, took(1000)), min(many, took(8000)); many < 24*few {
			return
		}
	}
	t.Errorf("1,000 Namespaces take %s, 8,000 take %s", few, many)
}
