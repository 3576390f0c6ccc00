package testbed

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Kubectl runs kubectl as the cluster administrator with stdin as its input. The error of a failed command contains
// its stderr.
func (c *Cluster) Kubectl(ctx context.Context, stdin string, args ...string) (stdout, stderr string, err error) {
	path, err := Tool("kubectl")
	if err != nil {
		return "", "", err
	}
	var out, errOut bytes.Buffer
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig, "KUBECACHEDIR="+c.file("kubectl"))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errOut
	if err := cmd.Run(); err != nil {
		err = fmt.Errorf("kubectl %s: %w\n%s", strings.Join(args, " "), err, errOut.String())
		return out.String(), errOut.String(), err
	}
	return out.String(), errOut.String(), nil
}

// Apply runs kubectl apply on manifests. Further arguments go to kubectl, such as -n and a namespace.
func (c *Cluster) Apply(ctx context.Context, manifests string, args ...string) error {
	_, _, err := c.Kubectl(ctx, manifests, append([]string{"apply", "-f", "-"}, args...)...)
	return err
}

// CreateNamespace makes a namespace with a unique name and deletes it when the test ends, without waiting for that.
func (c *Cluster) CreateNamespace(t testing.TB, labels map[string]string) string {
	t.Helper()
	client, err := kubernetes.NewForConfig(c.Config())
	if err != nil {
		t.Fatal(err)
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-", Labels: labels}}
	namespace, err = client.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("create namespace: %v", err)
	}
	t.Cleanup(func() {
		// The context of the test has ended by now.
		ctx := context.WithoutCancel(t.Context())
		err := client.CoreV1().Namespaces().Delete(ctx, namespace.Name, metav1.DeleteOptions{})
		if err != nil {
			t.Errorf("delete namespace %s: %v", namespace.Name, err)
		}
	})
	return namespace.Name
}
