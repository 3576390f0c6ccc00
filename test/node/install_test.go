package node_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meshfence/meshfence/test/testbed"
)

const (
	helmTool    = "helm"
	fenceConfig = "controlPlane: {clusters: [m1c1]}, holds: [subset]"
)

// way is a way to install and uninstall, as docs/operations.md says.
type way struct {
	name               string
	install, uninstall func(t *testing.T, n *node)
	happenings         []happening
}

func ways() []way {
	return []way{
		{
			name: "kustomize", install: kustomize, happenings: happenings(),
			uninstall: func(t *testing.T, n *node) { n.kubectl(t, "", "delete", "-k", overlay(t)) },
		},
		{
			name: "chart", install: chart, happenings: append(happenings(), amongCrowd()),
			uninstall: func(t *testing.T, n *node) { n.helm(t, "", "uninstall", "meshfence", "--namespace", namespace) },
		},
	}
}

// kustomize installs meshfence first and gives it a FenceConfig then, until which the Pods live and are not ready.
func kustomize(t *testing.T, n *node) {
	n.kubectl(t, "", "apply", "-k", overlay(t))
	eventually(t, "both Pods wait for a FenceConfig", func(ctx context.Context) error {
		pods, err := n.pods(ctx)
		if err != nil {
			return err
		}
		for _, pod := range pods {
			if !started(pod) || ready(pod) {
				return fmt.Errorf("%s: %v", pod.Name, pod.Status.ContainerStatuses)
			}
		}
		return expect(2, pods)
	})
	config := "{apiVersion: config.meshfence.io/v1alpha1, kind: FenceConfig, " + fenceConfig + "}"
	n.kubectl(t, config, "create", "configmap", "meshfence", "-n", namespace, "--from-file=config.yaml=/dev/stdin")
}

// overlay writes a kustomization with the image that the Node has, and returns its folder.
func overlay(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	manifests, err := filepath.Abs(filepath.Join("..", "..", "manifests", "overlays", "self-signed"))
	if err != nil {
		t.Fatal(err)
	}
	if manifests, err = filepath.Rel(dir, manifests); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("resources: [%s]\nimages: [{name: %s, newTag: %s}]\n", manifests, image, tag)
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func chart(t *testing.T, n *node) {
	n.kubectl(t, "", "create", "namespace", namespace)
	n.kubectl(t, "", "label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
	n.helm(t, "fenceConfig: {"+fenceConfig+"}", "install", "meshfence", filepath.Join("..", "..", "charts", "meshfence"),
		"--namespace", namespace, "--set", "image.tag="+tag, "--values", "-")
}

// helm runs helm with nothing of whoever runs the test.
func (n *node) helm(t *testing.T, stdin string, args ...string) {
	t.Helper()
	path, err := testbed.Tool(helmTool)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+n.Kubeconfig, "HOME="+t.TempDir())
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("helm %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
