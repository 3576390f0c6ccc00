package admit_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/admit"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/meshconfig"
	"github.com/meshfence/meshfence/policy/object"
	"github.com/meshfence/meshfence/test/fixtures"
)

const meshHold = `apiVersion: config.meshfence.io/v1alpha1
kind: FenceConfig
controlPlane: {clusters: [m1c1], meshConfigMaps: [istio, istio-canary]}
holds: [HOLD]
scope: {namespaces: [{name: shop, fence: strict}]}
`

func TestMutateMeshConfig(t *testing.T) {
	t.Parallel()
	const entry = "*.shop.svc.cluster.local"
	for name, test := range map[string]struct {
		hold, namespace, object string
		want                    []string // in the result; none means that nothing changes
	}{
		"missing entries": {"meshConfig", "istio-system",
			`{"metadata": {"name": "istio"}, "data": {"mesh": "trustDomain: a # kept\n", "other": "kept too"}}`,
			[]string{entry, "trustDomain: a # kept", "kept too", meshconfig.ClusterLocalHostsAnnotation}},
		"a revision":        {"meshConfig", "istio-system", `{"metadata": {"name": "istio-canary"}, "data": {"mesh": "{}"}}`, []string{entry}},
		"another name":      {"meshConfig", "istio-system", `{"metadata": {"name": "any"}, "data": {"mesh": "{}"}}`, nil},
		"another namespace": {"meshConfig", "shop", `{"metadata": {"name": "istio"}, "data": {"mesh": "{}"}}`, nil},
		"another hold":      {"subset", "istio-system", `{"metadata": {"name": "istio"}, "data": {"mesh": "{}"}}`, nil},
		"no mesh config":    {"meshConfig", "istio-system", `{"metadata": {"name": "istio"}, "data": {"mesh": "a: [", "other": "b"}}`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config, err := policy.ParseConfig(policy.Source{}, []byte(strings.Replace(meshHold, "HOLD", test.hold, 1)))
			if err != nil {
				t.Fatal(err)
			}
			index := policy.NewIndex(config)
			subject := admit.Request{Kind: object.KindConfigMap, Namespace: test.namespace, Raw: []byte(test.object)}
			edits, err := admit.Mutate(subject, index.View())
			if err != nil {
				t.Fatal(err)
			}
			if (len(edits) > 0) != (len(test.want) > 0) {
				t.Fatalf("%d edits", len(edits))
			}
			stored, err := admit.Apply(subject.Raw, edits)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range test.want {
				if !strings.Contains(string(stored), want) {
					t.Errorf("stored %s, which lacks %s", stored, want)
				}
			}
			subject.Raw = stored
			if again, err := admit.Mutate(subject, index.View()); err != nil || len(again) > 0 {
				t.Errorf("a second time it makes %d edits: %v", len(again), err)
			}
		})
	}
}

// TestMutateMeshConfigRecord: entries whose record somebody has taken out are still ours by the old ConfigMap.
func TestMutateMeshConfigRecord(t *testing.T) {
	t.Parallel()
	config, err := policy.ParseConfig(policy.Source{}, []byte(strings.Replace(meshHold, "HOLD", "meshConfig", 1)))
	if err != nil {
		t.Fatal(err)
	}
	index := policy.NewIndex(config)
	const plain = `{"metadata": {"name": "istio"}, "data": {"mesh": "trustDomain: a\n"}}`
	mutate := func(now, old string) string {
		t.Helper()
		subject := admit.Request{Kind: object.KindConfigMap, Namespace: "istio-system", Raw: []byte(now), Old: []byte(old)}
		edits, err := admit.Mutate(subject, index.View())
		if err != nil {
			t.Fatal(err)
		}
		stored, err := admit.Apply(subject.Raw, edits)
		if err != nil {
			t.Fatal(err)
		}
		return string(stored)
	}
	held := mutate(plain, "")
	taken, err := admit.Apply([]byte(held), []inject.Edit{{Path: []string{"metadata", "annotations"}}})
	if err != nil || strings.Contains(string(taken), meshconfig.ClusterLocalHostsAnnotation) {
		t.Fatalf("%s: %v", taken, err)
	}
	if diff := cmp.Diff(fixtures.Sorted(t, held), fixtures.Sorted(t, mutate(string(taken), held))); diff != "" {
		t.Errorf("while there is a fence (-want +got):\n%s", diff)
	}
	if config, err = policy.ParseConfig(policy.Source{}, []byte(strings.NewReplacer("HOLD", "meshConfig", "strict", "none").Replace(meshHold))); err != nil {
		t.Fatal(err)
	}
	index.SetConfig(config)
	if stored := mutate(string(taken), held); strings.Contains(stored, "serviceSettings") {
		t.Errorf("once the fence is gone: %s", stored)
	}
}
