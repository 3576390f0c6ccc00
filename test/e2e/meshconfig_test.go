package e2e_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
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
  hosts: ["*.mine.svc.cluster.local"] # a user's own
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
	s.istioNamespace(t)
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
	holds(host, "# keep this", "# a user's own")
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

// managers lists who owns fields of the mesh ConfigMap.
func (s *suite) managers(t *testing.T) []string {
	t.Helper()
	out := s.kubectl(t, "", "get", "configmap", "istio", "-n", "istio-system", "--show-managed-fields", "-o", "jsonpath={.metadata.managedFields[*].manager}")
	return strings.Fields(out)
}

// apply applies the mesh ConfigMap as Helm 4 does: on the server, without force.
func (s *suite) apply(t *testing.T, text string) {
	t.Helper()
	manifest := s.kubectl(t, text, "create", "configmap", "istio", "-n", "istio-system", "--from-file=mesh=/dev/stdin", "--from-literal=meshNetworks=networks: {}", "--dry-run=client", "-o", "yaml")
	s.kubectl(t, manifest, "apply", "--server-side", "--field-manager=helm", "-f", "-")
}

// The installer stays the only owner of the mesh ConfigMap, also of one that an earlier version of meshfence has written,
// so that its next upgrade meets no conflict, and what it writes holds the scope at once.
func TestMeshConfigStaysTheInstallers(t *testing.T) {
	s := shared(t)
	s.istioNamespace(t)
	wrote := s.wrote(t)
	s.configure(t, meshHoldConfig)
	s.apply(t, meshText)
	t.Cleanup(func() { s.kubectlInCleanup(t, "delete", "configmap", "istio", "-n", "istio-system") })
	namespace := s.CreateNamespace(t, nil)
	host := "reviews." + namespace + ".svc.cluster.local"
	s.kubectl(t, fmt.Sprintf(service, "meshfence.io/fence: strict"), "apply", "-n", namespace, "-f", "-")
	held := func(what string) {
		t.Helper()
		eventually(t, what, func(context.Context) error {
			if text := s.mesh(t); !strings.Contains(text, host) {
				return fmt.Errorf("no %s in\n%s", host, text)
			}
			if got := s.managers(t); len(got) != 1 || got[0] != "helm" {
				return fmt.Errorf("managed by %v", got)
			}
			return nil
		})
	}
	held("the Service is fenced, and Helm alone owns the text")
	s.apply(t, strings.Replace(meshText, "/dev/stdout", "/dev/null", 1))
	if text := s.mesh(t); !strings.Contains(text, host) || !strings.Contains(text, "/dev/null") {
		t.Errorf("after the upgrade:\n%s", text)
	}
	held("the upgrade leaves it so")
	s.kubectl(t, "", "patch", "configmap", "istio", "-n", "istio-system", "--field-manager=meshfence", "--type=merge", "-p", `{"data": {"mesh": "accessLogFile: /dev/full"}}`)
	held("what an earlier version wrote is given up")
	s.apply(t, meshText)
	held("and the installer takes it back")
	if got := s.wrote(t); got != wrote {
		t.Errorf("the controller wrote the text itself: %d Events, want %d", got, wrote)
	}
}

// Where admission does not put the entries in, the controller writes them, says so, and owns nothing all the same.
func TestMeshConfigWithoutAdmission(t *testing.T) {
	s := shared(t)
	s.istioNamespace(t)
	wrote := s.wrote(t)
	s.configure(t, meshHoldConfig)
	s.apply(t, meshText)
	t.Cleanup(func() { s.kubectlInCleanup(t, "delete", "configmap", "istio", "-n", "istio-system") })
	webhooks := s.kubectl(t, "", "get", "mutatingwebhookconfiguration", "meshfence", "-o", "json")
	s.kubectl(t, "", "delete", "mutatingwebhookconfiguration", "meshfence")
	t.Cleanup(func() {
		if _, _, err := s.Kubectl(context.Background(), webhooks, "create", "-f", "-"); err != nil {
			t.Error(err)
		}
	})
	namespace := s.CreateNamespace(t, nil)
	s.kubectl(t, fmt.Sprintf(service, "meshfence.io/fence: strict"), "apply", "-n", namespace, "-f", "-")
	eventually(t, "the entries are written", func(context.Context) error {
		if text := s.mesh(t); !strings.Contains(text, "reviews."+namespace+".svc.cluster.local") {
			return fmt.Errorf("no entry in\n%s", text)
		}
		if got := s.managers(t); len(got) != 1 || got[0] != "helm" {
			return fmt.Errorf("managed by %v", got)
		}
		if got := s.wrote(t); got <= wrote {
			return fmt.Errorf("%d Events, want more than %d", got, wrote)
		}
		return nil
	})
}

// wrote counts the Events that tell that the controller wrote the mesh ConfigMap itself.
func (s *suite) wrote(t *testing.T) int {
	t.Helper()
	return strings.Count(s.kubectl(t, "", "get", "events", "-n", "istio-system", "-o", "jsonpath={.items[*].reason}"), "WroteMeshConfig")
}

// kubectlInCleanup runs kubectl when the context of the test has ended.
func (s *suite) kubectlInCleanup(t *testing.T, args ...string) {
	if _, _, err := s.Kubectl(context.Background(), "", args...); err != nil {
		t.Error(err)
	}
}

// However many Services are fenced within seconds, and whichever replica answers, istiod gets a few pushes, and admission is
// not blamed for what it could not know yet.
func TestMeshConfigBurst(t *testing.T) {
	const services = 300
	s := shared(t)
	s.istioNamespace(t)
	s.configure(t, meshHoldConfig)
	s.install(t, meshText)
	t.Cleanup(func() { s.kubectlInCleanup(t, "delete", "configmap", "istio", "-n", "istio-system") })
	wrote := s.wrote(t)
	namespace := s.CreateNamespace(t, nil)
	client, err := kubernetes.NewForConfig(s.Config())
	if err != nil {
		t.Fatal(err)
	}
	changes, err := client.CoreV1().ConfigMaps("istio-system").Watch(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=istio"})
	if err != nil {
		t.Fatal(err)
	}
	defer changes.Stop()
	var manifests strings.Builder
	for i := range services {
		fmt.Fprintf(&manifests, "---\n%s", strings.Replace(fmt.Sprintf(service, "meshfence.io/fence: strict"), "name: reviews", fmt.Sprintf("name: reviews-%d", i), 1))
	}
	start := time.Now()
	s.kubectl(t, manifests.String(), "create", "-n", namespace, "-f", "-")
	took := time.Since(start)
	writes := -1 // the watch begins with what is there
	patience := time.After(time.Minute)
	for entries := 0; entries < services; {
		select {
		case change := <-changes.ResultChan():
			writes++
			entries = strings.Count(change.Object.(*corev1.ConfigMap).Data["mesh"], "."+namespace+".svc.cluster.local")
		case <-patience:
			t.Fatalf("%d entries of %d after %d writes", entries, services, writes)
		}
	}
	t.Logf("%d Services fenced in %v: %d writes", services, took.Round(time.Second), writes)
	if most := 3 + int(took/(2*time.Second)); writes > most {
		t.Errorf("%d writes, want at most %d", writes, most)
	}
	if got := s.wrote(t); got != wrote {
		t.Errorf("admission is blamed: %d Events, want %d", got, wrote)
	}
}
