package e2e_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

const meshHoldConfig = `apiVersion: config.meshfence.io/v1alpha1
kind: FenceConfig
controlPlane: {clusters: [m1c1]}
holds: [meshConfig]
`

// meshText is what an installer writes; everything in it must survive.
const meshText = `# written by the installer
accessLogFile: /dev/stdout   # keep this
defaultConfig: {discoveryAddress: "istiod.istio-system.svc:15012"}
serviceSettings:
- settings: {clusterLocal: true}
  hosts: ["*.mine.svc.cluster.local"] # a person's own
trustDomain: cluster.local
`

func (s *suite) mesh(t *testing.T) string {
	t.Helper()
	return s.get(t, "configmap", "istio", "-n", "istio-system")["data"].(map[string]any)["mesh"].(string)
}

func (s *suite) install(t *testing.T, text string) {
	t.Helper()
	manifest := s.kubectl(t, text, "create", "configmap", "istio", "-n", "istio-system", "--from-file=mesh=/dev/stdin", "--dry-run=client", "-o", "yaml")
	s.kubectl(t, manifest, "apply", "--server-side", "--force-conflicts", "-f", "-")
}

// The mesh ConfigMap follows the scope, survives an installer, and is the installer's again when nothing is fenced.
func TestMeshConfigFollowsTheScope(t *testing.T) {
	s := shared(t)
	if _, stderr, err := s.Kubectl(t.Context(), "", "create", "namespace", "istio-system"); err != nil && !strings.Contains(stderr, "AlreadyExists") {
		t.Fatal(err)
	}
	s.configure(t, meshHoldConfig)
	s.install(t, meshText)
	t.Cleanup(func() { s.kubectlInCleanup(t, "delete", "configmap", "istio", "-n", "istio-system") })
	namespace := s.CreateNamespace(t, nil)
	s.kubectl(t, fmt.Sprintf(service, ""), "apply", "-n", namespace, "-f", "-")

	holds := func(want ...string) {
		t.Helper()
		eventually(t, "the mesh config follows", func(context.Context) error {
			text := s.mesh(t)
			for _, w := range want {
				if entry, unwanted := strings.CutPrefix(w, "-"); strings.Contains(text, entry) == unwanted {
					return fmt.Errorf("%s:\n%s", w, text)
				}
			}
			return nil
		})
	}
	host, all := "reviews."+namespace+".svc.cluster.local", "*."+namespace+".svc.cluster.local"
	holds("-" + namespace)
	s.kubectl(t, "", "annotate", "service", "reviews", "-n", namespace, "meshfence.io/fence=strict")
	holds(host, "# keep this", "# a person's own")
	s.kubectl(t, "", "label", "namespace", namespace, "meshfence.io/fence=strict")
	s.kubectl(t, "", "annotate", "service", "reviews", "-n", namespace, "meshfence.io/fence-")
	holds(all, "-"+host)

	// An installer resets it: the very same request brings the entries back.
	s.install(t, strings.Replace(meshText, "/dev/stdout", "/dev/null", 1))
	if text := s.mesh(t); !strings.Contains(text, all) || !strings.Contains(text, "/dev/null") {
		t.Errorf("after the reset:\n%s", text)
	}
	s.install(t, meshText)

	s.kubectl(t, "", "label", "namespace", namespace, "meshfence.io/fence-")
	holds("-" + namespace)

	// Without the hold nothing of ours is left, whatever else is fenced.
	s.configure(t, defaultConfig)
	eventually(t, "the text is the installer's again", func(context.Context) error { return differs(meshText, s.mesh(t)) })
}

// kubectlInCleanup runs kubectl when the context of the test has ended.
func (s *suite) kubectlInCleanup(t *testing.T, args ...string) {
	if _, _, err := s.Kubectl(context.Background(), "", args...); err != nil {
		t.Error(err)
	}
}
