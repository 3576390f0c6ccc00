package meshconfig_test

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	mesh "istio.io/api/mesh/v1alpha1"
	"sigs.k8s.io/yaml"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/meshconfig"
)

// istioMesh reads a mesh config into Istio's type, and refuses what the type does not have but for the x-
// fields of the goldens.
func istioMesh(t testing.TB, text string) *mesh.MeshConfig {
	t.Helper()
	data, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	var config mesh.MeshConfig
	if err := protojson.Unmarshal(data, &config); err == nil {
		return &config
	}
	var fields map[string]any
	if err := yaml.Unmarshal([]byte(text), &fields); err != nil {
		t.Fatal(err)
	}
	settings := map[string]any{}
	for _, name := range []string{"serviceSettings", "service_settings", "defaultConfig"} {
		if value, ok := fields[name]; ok {
			settings[name] = value
		}
	}
	if data, err = yaml.Marshal(settings); err != nil {
		t.Fatal(err)
	}
	if data, err = yaml.YAMLToJSON(data); err != nil {
		t.Fatal(err)
	}
	if err := protojson.Unmarshal(data, &config); err != nil {
		t.Fatalf("Istio's type must take serviceSettings: %v in:\n%s", err, text)
	}
	return &config
}

// istioLocal returns what answers as istiod does, by the words of pilot/pkg/model/cluster_local.go and without sharing
// anything with the code under test.
func istioLocal(config *mesh.MeshConfig) func(host string) bool {
	discovery := "istiod.istio-system.svc.cluster.local"
	if address := config.GetDefaultConfig().GetDiscoveryAddress(); address != "" {
		discovery = strings.TrimSuffix(strings.TrimSuffix(address, ":15012"), ".cluster.local") + ".cluster.local"
	}
	defaults := map[string]bool{"*.kube-system.svc.cluster.local": true, "kubernetes.default.svc.cluster.local": true, discovery: true}
	table := map[string]bool{}
	for _, entry := range config.GetServiceSettings() {
		for _, h := range entry.GetHosts() {
			table[h] = entry.GetSettings().GetClusterLocal()
			if table[h] {
				continue
			}
			delete(defaults, h)
			if strings.HasSuffix(h, ".kube-system.svc.cluster.local") {
				delete(defaults, "*.kube-system.svc.cluster.local")
			}
		}
	}
	for h := range defaults {
		table[h] = true
	}
	return func(host string) bool {
		if local, ok := table[host]; ok {
			return local
		}
		best, local := "", false
		for h, l := range table {
			if h != "" && h[0] == '*' && strings.HasSuffix(host, h[1:]) && len(h) > len(best) {
				best, local = h, l
			}
		}
		return local
	}
}

// checkEffective demands that the text says what is wanted about every host that either names and about
// hosts next to them, except inside the contradictions that stay; and that Istio reads it so.
func checkEffective(t testing.TB, plan meshconfig.Plan, want []policy.ClusterLocalEntry) {
	t.Helper()
	local, err := meshconfig.EffectiveClusterLocal(meshDomain, plan.Text)
	if err != nil {
		t.Fatal(err)
	}
	config := istioMesh(t, plan.Text)
	istio := istioLocal(config)
	var hosts []string
	for _, entry := range config.GetServiceSettings() {
		for _, h := range entry.GetHosts() {
			hosts = append(hosts, strings.ReplaceAll(h, "*", "new"), strings.ReplaceAll(h, "*", "a"), "a"+strings.TrimLeft(h, "*"))
		}
	}
	hosts = append(hosts, "dns.kube-system.svc.cluster.local", "kubernetes.default.svc.cluster.local",
		"istiod.istio-system.svc.cluster.local", "new.default.svc.cluster.local", "new.shop.svc.cluster.local", "outside.example.com")
	few := len(hosts)/500 + 1 // the reference is slow
	for i := 0; i < len(hosts); i += few {
		host := hosts[i]
		got := local.Has(host)
		if got != istio(host) {
			t.Errorf("%s: Istio says %t, got %t in:\n%s", host, !got, got, plan.Text)
		}
		wanted, by, ok := wantedLocal(want, host)
		if !ok || got == wanted || strings.Contains(host, ".kube-system.") && !strings.Contains(by, "kube-system") {
			continue
		}
		if got && (strings.HasPrefix(host, "kubernetes.default.") || strings.HasPrefix(host, "istiod.")) {
			continue // Istio's own defaults are more specific than any wildcard
		}
		if !got || !stays(plan.Contradictions, host) {
			t.Errorf("%s: want clusterLocal %t, got %t in:\n%s", host, wanted, got, plan.Text)
		}
	}
}

func wantedLocal(want []policy.ClusterLocalEntry, host string) (local bool, by string, ok bool) {
	for _, e := range want {
		if e.Host == host {
			return e.Local, e.Host, true
		}
		if suffix, wildcard := strings.CutPrefix(e.Host, "*"); wildcard && strings.HasSuffix(host, suffix) && len(e.Host) > len(by) {
			local, by, ok = e.Local, e.Host, true
		}
	}
	return local, by, ok
}

// stays reports whether a user's stricter entry covers the host.
func stays(contradictions []meshconfig.Contradiction, host string) bool {
	for _, c := range contradictions {
		if suffix, wildcard := strings.CutPrefix(c.Host, "*"); !c.Overridden && (c.Host == host || wildcard && strings.HasSuffix(host, suffix)) {
			return true
		}
	}
	return false
}

// TestEffectiveClusterLocal holds the cases of Istio's own test (pilot/pkg/model/cluster_local_test.go) and
// those of docs/istio.md, section 1.1.
func TestEffectiveClusterLocal(t *testing.T) {
	t.Parallel()
	entry := func(local, hosts string) string {
		return "- settings: {clusterLocal: " + local + "}\n  hosts: [" + hosts + "]\n"
	}
	tests := map[string]struct {
		settings string
		local    string
		open     string
	}{
		"defaults": {
			local: "s.kube-system.svc.cluster.local kubernetes.default.svc.cluster.local istiod.istio-system.svc.cluster.local",
			open:  "not.cluster.local s.kube-system.svc.example.com",
		},
		"default namespace overridden": {
			settings: entry("false", "'*.kube-system.svc.cluster.local'"), open: "s.kube-system.svc.cluster.local",
		},
		"one host of the default namespace removes it": {
			settings: entry("false", "s.kube-system.svc.cluster.local"), open: "s.kube-system.svc.cluster.local t.kube-system.svc.cluster.local",
		},
		"default service overridden": {
			settings: entry("false", "kubernetes.default.svc.cluster.local"), open: "kubernetes.default.svc.cluster.local",
		},
		"a wider false keeps the defaults": {
			settings: entry("false", "'*.svc.cluster.local'"), local: "kubernetes.default.svc.cluster.local s.kube-system.svc.cluster.local",
		},
		"more specific false": {
			settings: entry("true", "'*.prod.svc.cluster.local'") + entry("false", "h.prod.svc.cluster.local"),
			local:    "g.prod.svc.cluster.local", open: "h.prod.svc.cluster.local",
		},
		"everything but a namespace": {
			settings: entry("true", "'*'") + entry("false", "'*.prod.svc.cluster.local'"),
			local:    "example.com", open: "h.prod.svc.cluster.local",
		},
		"last one wins": {
			settings: entry("true", "a, b") + entry("false", "a"), local: "b", open: "a",
		},
		"short names do not match": {
			settings: entry("true", "reviews.prod"), open: "reviews.prod.svc.cluster.local",
		},
		"wildcard without a dot": {
			settings: entry("true", "'*-db.prod.svc.cluster.local'"), local: "x-db.prod.svc.cluster.local", open: "db.prod.svc.cluster.local",
		},
		"absent settings": {
			settings: "- hosts: ['*']\n", open: "a istiod.example.com", local: "istiod.istio-system.svc.cluster.local",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := "serviceSettings:\n" + tt.settings
			local, err := meshconfig.EffectiveClusterLocal(meshDomain, text)
			if err != nil {
				t.Fatal(err)
			}
			istio := istioLocal(istioMesh(t, text))
			for want, hosts := range map[bool]string{true: tt.local, false: tt.open} {
				for _, host := range strings.Fields(hosts) {
					if got := local.Has(host); got != want || istio(host) != want {
						t.Errorf("%s: want %t, got %t, the reference says %t", host, want, got, istio(host))
					}
				}
			}
		})
	}
}

func TestDiscoveryAddress(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ text, local, open string }{
		"revision": {"defaultConfig: {discoveryAddress: 'istiod-1-31.istio-system.svc:15012'}", "istiod-1-31.istio-system.svc.cluster.local", "istiod.istio-system.svc.cluster.local"},
		"full":     {"defaultConfig: {discoveryAddress: 'istiod.mesh.svc.cluster.local:15012'}", "istiod.mesh.svc.cluster.local", "istiod.istio-system.svc.cluster.local"},
		"broken":   {"defaultConfig: {discoveryAddress: istiod}", "kubernetes.default.svc.cluster.local", "istiod.istio-system.svc.cluster.local"},
		"absent":   {"defaultConfig: {}", "istiod.istio-system.svc.cluster.local", "istiod"},
		"removed":  {"serviceSettings: [{hosts: [istiod.istio-system.svc.cluster.local]}]", "kubernetes.default.svc.cluster.local", "istiod.istio-system.svc.cluster.local"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			local, err := meshconfig.EffectiveClusterLocal(meshDomain, tt.text)
			if err != nil {
				t.Fatal(err)
			}
			if !local.Has(tt.local) || local.Has(tt.open) {
				t.Errorf("%s: want true, got %t; %s: want false, got %t", tt.local, local.Has(tt.local), tt.open, local.Has(tt.open))
			}
		})
	}
}

func TestDiscardsShared(t *testing.T) {
	t.Parallel()
	const shared = "serviceSettings: [{settings: {clusterLocal: true}, hosts: [a.x.svc.cluster.local]}]"
	tests := map[string]struct {
		standard string
		discards bool
	}{
		"absent":     {"trustDomain: cluster.local", false},
		"null":       {"serviceSettings:", false},
		"empty":      {"", false},
		"empty list": {"serviceSettings: []", true},
		"list":       {"service_settings: [{hosts: [b]}]", true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			discards, err := meshconfig.DiscardsShared(tt.standard)
			if err != nil || discards != tt.discards {
				t.Errorf("want %t, got %t, %v", tt.discards, discards, err)
			}
			local, err := meshconfig.EffectiveClusterLocal(meshDomain, shared, tt.standard)
			if err != nil || local.Has("a.x.svc.cluster.local") == discards {
				t.Errorf("want local %t, got %t, %v", !discards, !discards, err)
			}
		})
	}
	if _, err := meshconfig.DiscardsShared("["); err == nil {
		t.Error("want an error for a text that is not YAML")
	}
}
