package leak_test

import (
	"fmt"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
)

// TestServiceEntryServiceIP spells the addresses of a Service with two of them, as only a cluster with both
// families has.
func TestServiceEntryServiceIP(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		address string
		port    int
		found   bool
	}{
		"IPv4":                      {"10.1.2.3", 9080, true},
		"IPv4 in IPv6":              {"::ffff:10.1.2.3", 9080, true},
		"IPv4 in IPv6, hexadecimal": {"::FFFF:a01:203", 9080, true},
		"IPv4 network in IPv6":      {"::ffff:10.1.0.0/112", 9080, true},
		"every IPv4 in IPv6":        {"::ffff:0:0/96", 9080, true},
		"every IPv4":                {"0.0.0.0/0", 9080, true},
		"every IPv6":                {"::/0", 9080, true},
		"every IPv6, by an IPv4":    {"::ffff:192.0.2.7/0", 9080, true},
		"IPv6":                      {"2001:db8::7", 9080, true},
		"IPv6, written out":         {"2001:0DB8:0:0:0:0:0:7", 9080, true},
		"IPv6 network":              {"2001:db8::/32", 9080, true},
		"IPv6 with a zone":          {"2001:db8::7%eth0", 9080, true},
		"another IPv6":              {"2001:db8::8", 9080, false},
		"another IPv6 network":      {"2001:db9::/32", 9080, false},
		"IPv6 that ends like IPv4":  {"::10.1.2.3", 9080, false},
		"wider than mapped IPv4":    {"::ffff:0:0/95", 9080, false},
		"another port":              {"2001:db8::7", 9081, false},
		"no address":                {"example.com", 9080, false},
		"no network":                {"10.0.0.0/33", 9080, false},
		"nothing":                   {"", 9080, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			index := newIndex(t, "meshConfig")
			index.SetNamespace("shop", nil)
			host := hostname.Host{Namespace: "shop", Name: "reviews"}
			index.SetService(host, map[string]string{policy.FenceKey: "strict"})
			index.SetServiceSpec(host, object.ServiceSpec{
				ClusterIP: "10.1.2.3", ClusterIPs: []string{"10.1.2.3", "2001:db8::7"}, Ports: []object.ServicePort{{Port: 9080, Name: "http"}},
			})
			entry := fromYAML(t, object.KindServiceEntry, fmt.Sprintf(
				"metadata: {name: it, namespace: app}\nspec: {hosts: [a.example.com], addresses: [%q], resolution: STATIC, ports: [{number: %d, protocol: TCP}]}", test.address, test.port))
			findings := leak.NewGuard(leak.Rules()).Check(entry, index.View())
			if found := len(findings) > 0; found != test.found {
				t.Errorf("found: %t, want %t:\n%s", found, test.found, describe(findings))
			}
		})
	}
}

func newIndex(t *testing.T, hold string) *policy.Index {
	t.Helper()
	config, err := policy.ParseConfig(policy.Source{}, fmt.Appendf(nil, "apiVersion: config.meshfence.io/v1alpha1\n"+
		"kind: FenceConfig\ncontrolPlane: {clusters: [m1c1]}\nholds: [%s]\n", hold))
	if err != nil {
		t.Fatal(err)
	}
	return policy.NewIndex(config)
}

func fromYAML(t testing.TB, kind, text string) *object.Object {
	t.Helper()
	data, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, kind, data)
}
