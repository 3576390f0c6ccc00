package manifests_test

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/meshfence/meshfence/test/testbed"
)

// Each overlay is applied over what the one before left, as on a change of mind, with the caBundle that another writer
// keeps. Nothing answers for the webhooks all the while, which must not matter.
func TestApply(t *testing.T) {
	cluster, client := shared(t)
	for _, overlay := range overlays() {
		manifests := render(t, overlay)
		// In this order: a plain apply warns about what it did not make.
		for _, args := range [][]string{{"apply", "-f", "-"}, {"apply", "--server-side", "-f", "-"}} {
			plain := !slices.Contains(args, "--server-side")
			t.Run(fmt.Sprintf("%s plain=%t", overlay, plain), func(t *testing.T) {
				apply(t, cluster, manifests, args...)
				ca := keepCA(t, client)
				before := versions(t, cluster, manifests)
				out := apply(t, cluster, manifests, args...)
				if plain {
					for line := range strings.Lines(out) {
						// Kubectl always replaces the selector of a PodDisruptionBudget, here with itself.
						if !strings.HasSuffix(line, " unchanged\n") && line != "poddisruptionbudget.policy/meshfence configured\n" {
							t.Errorf("applied again: %s", line)
						}
					}
				}
				if after := versions(t, cluster, manifests); after != before {
					t.Errorf("applied again, an object changed: before\n%s\nafter\n%s", before, after)
				}
				checkCA(t, client, ca)
			})
		}
	}
	t.Run("uninstall", func(t *testing.T) {
		uninstall(t, cluster, client, render(t, "self-signed"))
		out := apply(t, cluster, "", "get", "clusterroles,clusterrolebindings,mutatingwebhookconfigurations,"+
			"validatingwebhookconfigurations", "-l", "app.kubernetes.io/name=meshfence", "-o", "name")
		if out != "" {
			t.Errorf("left behind: %s", out)
		}
	})
}

// uninstall deletes manifests and waits until the namespace is gone. Tests may call it when they end.
func uninstall(t *testing.T, cluster *testbed.Cluster, client *kubernetes.Clientset, manifests string) {
	t.Helper()
	ctx := context.Background()
	if _, _, err := cluster.Kubectl(ctx, manifests, "delete", "--ignore-not-found", "--wait=false", "-f", "-"); err != nil {
		t.Error(err)
	}
	err := testbed.Eventually(ctx, patience, func(ctx context.Context) error {
		_, err := client.CoreV1().Namespaces().Get(ctx, "meshfence-system", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("the namespace is still there: %w", err)
	})
	if err != nil {
		t.Errorf("uninstall: %v", err)
	}
}

// apply runs kubectl on manifests, which must succeed without a warning.
func apply(t *testing.T, cluster *testbed.Cluster, manifests string, args ...string) string {
	t.Helper()
	stdout, stderr, err := cluster.Kubectl(t.Context(), manifests, args...)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(stderr, "Warning") {
		t.Errorf("kubectl %v: %s", args, stderr)
	}
	return stdout
}

// versions lists the generation of every object, or its resourceVersion where it has none.
func versions(t *testing.T, cluster *testbed.Cluster, manifests string) string {
	t.Helper()
	out := apply(t, cluster, manifests, "get", "-f", "-", "-o", "json")
	var list metav1.List
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, item := range list.Items {
		var object metav1.PartialObjectMetadata
		if err := json.Unmarshal(item.Raw, &object); err != nil {
			t.Fatal(err)
		}
		version := object.ResourceVersion
		if object.Generation > 0 { // the status of these changes on its own
			version = fmt.Sprintf("generation %d", object.Generation)
		}
		fmt.Fprintf(&b, "%s %s/%s %s\n", object.Kind, object.Namespace, object.Name, version)
	}
	return b.String()
}

// keepCA writes a caBundle as meshfence and cert-manager do, and returns it.
func keepCA(t *testing.T, client *kubernetes.Clientset) []byte {
	t.Helper()
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	ca := encode(server.Certificate())
	configurations := client.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	configuration, err := configurations.Get(t.Context(), "meshfence", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var edits []map[string]any
	for i := range configuration.Webhooks {
		edits = append(edits, map[string]any{"op": "add", "path": fmt.Sprintf("/webhooks/%d/clientConfig/caBundle", i), "value": ca})
	}
	patch, err := json.Marshal(edits)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := configurations.Patch(t.Context(), "meshfence", types.JSONPatchType, patch, metav1.PatchOptions{FieldManager: "meshfence"}); err != nil {
		t.Fatal(err)
	}
	return ca
}

func encode(certificate *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw})
}

func checkCA(t *testing.T, client *kubernetes.Clientset, ca []byte) {
	t.Helper()
	configuration, err := client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(t.Context(), "meshfence", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range configuration.Webhooks {
		if string(w.ClientConfig.CABundle) != string(ca) {
			t.Errorf("%s: applying the manifests again took the caBundle away", w.Name)
		}
	}
}

// The namespace enforces the restricted Pod security standard, which the Deployment's Pods keep.
func TestPodSecurity(t *testing.T) {
	cluster, client := shared(t)
	for _, overlay := range overlays() {
		t.Run(overlay, func(t *testing.T) {
			namespace := one[*corev1.Namespace](t, overlay)
			name := cluster.CreateNamespace(t, namespace.Labels)
			template := one[*appsv1.Deployment](t, overlay).Spec.Template
			create := func(spec corev1.PodSpec) error {
				pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "meshfence", Labels: template.Labels}, Spec: spec}
				_, err := client.CoreV1().Pods(name).Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
				return err
			}
			if err := create(template.Spec); err != nil {
				t.Errorf("the Pods do not keep the standard: %v", err)
			}
			loose := *template.Spec.DeepCopy()
			loose.Containers[0].SecurityContext.Capabilities = nil
			if err := create(loose); !apierrors.IsForbidden(err) {
				t.Errorf("a Pod that keeps its capabilities: want forbidden, got %v", err)
			}
		})
	}
}
