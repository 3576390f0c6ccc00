package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/meshfence/meshfence/test/testbed"
)

// What render prints for the demo's files, and for a rule and a route of reviews, is what the API server stores, object for object, but for what the
// API server itself adds.
func TestRenderEqualsWhatIsStored(t *testing.T) {
	s := shared(t)
	namespace := s.CreateNamespace(t, nil)
	demo := func(name string) string { return filepath.Join("..", "demo", name) }
	bookinfo, err := os.ReadFile(demo("bookinfo.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	fenced := strings.Replace(string(bookinfo), "  name: reviews\n", "  name: reviews\n  annotations: {meshfence.io/fence: strict}\n", 1)
	config := filepath.Join(t.TempDir(), "fenceconfig.yaml")
	if err := os.WriteFile(config, []byte(defaultConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	path, err := testbed.Tool(testbed.ToolMeshfence)
	if err != nil {
		t.Fatal(err)
	}
	files := []string{"-f", demo("pages.yaml"), "-f", "testdata/reviews-rule.yaml", "-f", "testdata/reviews-route.yaml"}
	render := exec.CommandContext(t.Context(), path, append([]string{"render", "--config", config, "-n", namespace, "-f", "-"}, files...)...)
	render.Stdin, render.Stderr = strings.NewReader(fenced), os.Stderr
	out, err := render.Output()
	if err != nil {
		t.Fatal(err)
	}
	s.kubectl(t, fenced, "apply", "-n", namespace, "-f", "-")
	s.kubectl(t, "", append([]string{"apply", "-n", namespace}, files...)...)
	documents := strings.Split(strings.TrimPrefix(string(out), "---\n"), "\n---\n")
	if len(documents) != 8 {
		t.Fatalf("render printed %d documents, want 8", len(documents))
	}
	for _, document := range documents {
		var rendered map[string]any
		if err := yaml.Unmarshal([]byte(document), &rendered); err != nil {
			t.Fatal(err)
		}
		metadata := rendered["metadata"].(map[string]any)
		stored := s.get(t, rendered["kind"].(string), metadata["name"].(string), "-n", namespace)
		dropServerFields(stored)
		if diff := cmp.Diff(stored, rendered); diff != "" {
			t.Errorf("%s %s (-stored +rendered):\n%s", rendered["kind"], metadata["name"], diff)
		}
	}
}

// dropServerFields removes what the API server and kubectl add.
func dropServerFields(object map[string]any) {
	metadata := object["metadata"].(map[string]any)
	for _, field := range []string{"creationTimestamp", "generation", "namespace", "resourceVersion", "uid"} {
		delete(metadata, field)
	}
	if annotations, ok := metadata["annotations"].(map[string]any); ok {
		delete(annotations, "kubectl.kubernetes.io/last-applied-configuration")
		if len(annotations) == 0 {
			delete(metadata, "annotations")
		}
	}
	delete(object, "status")
	if object["kind"] == "Service" {
		spec := object["spec"].(map[string]any)
		for _, field := range []string{"clusterIP", "clusterIPs", "internalTrafficPolicy", "ipFamilies", "ipFamilyPolicy", "sessionAffinity", "type"} {
			delete(spec, field)
		}
		for _, port := range spec["ports"].([]any) {
			delete(port.(map[string]any), "protocol")
			delete(port.(map[string]any), "targetPort")
		}
	}
}
