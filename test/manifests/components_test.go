package manifests_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// renderWith runs kubectl kustomize on an overlay of a user's, which has components beside one of ours, and more lines; $ in
// them is the folder of the manifests.
func renderWith(t *testing.T, overlay string, components []string, more ...string) string {
	t.Helper()
	dir := t.TempDir()
	root, err := filepath.Abs(filepath.Join("..", "..", "manifests"))
	if err != nil {
		t.Fatal(err)
	}
	if root, err = filepath.Rel(dir, root); err != nil {
		t.Fatal(err)
	}
	lines := append([]string{"resources: [$/overlays/" + overlay + "]", "components:"}, more...)
	for i, component := range components {
		lines = slices.Insert(lines, 2+i, "- $/components/"+component)
	}
	content := strings.ReplaceAll(strings.Join(lines, "\n"), "$", root)
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return kustomize(t, dir)
}

// The policy selects the Pods and opens their ports.
func TestNetworkPolicy(t *testing.T) {
	t.Parallel()
	var found *networkingv1.NetworkPolicy
	for _, object := range objects(t, renderWith(t, "self-signed", []string{"network-policy"})) {
		if o, ok := object.(*networkingv1.NetworkPolicy); ok {
			found = o
		}
	}
	if found == nil {
		t.Fatal("no NetworkPolicy")
	}
	pod := one[*appsv1.Deployment](t, "self-signed").Spec.Template
	selector, err := metav1.LabelSelectorAsSelector(&found.Spec.PodSelector)
	if err != nil {
		t.Fatal(err)
	}
	if selector.Empty() || !selector.Matches(labels.Set(pod.Labels)) {
		t.Errorf("the policy selects %s, which must be the Pods with %v", selector, pod.Labels)
	}
	closed := map[string]bool{}
	for _, port := range pod.Spec.Containers[0].Ports {
		closed[port.Name] = true
	}
	for _, rule := range found.Spec.Ingress {
		for _, port := range rule.Ports {
			if !closed[port.Port.String()] {
				t.Errorf("port %s is no port of the container", port.Port)
			}
			delete(closed, port.Port.String())
		}
	}
	if len(closed) > 0 {
		t.Errorf("ports that nobody may reach: %v", closed)
	}
}

// The component for monitoring has what scrapes and what alerts, and the dashboard.
func TestMonitoring(t *testing.T) {
	t.Parallel()
	manifests := renderWith(t, "self-signed", []string{"monitoring"})
	for _, want := range []string{"kind: PodMonitor\n", "kind: PrometheusRule\n", "name: meshfence-dashboard\n", `grafana_dashboard: "1"`} {
		if !strings.Contains(manifests, want) {
			t.Errorf("no %s in the manifests", want)
		}
	}
}

// With the component, meshfence keeps its caBundles, and its ServiceAccount can do nothing else to a webhook configuration;
// others can.
func TestPinnedWebhooks(t *testing.T) {
	cluster, client := shared(t)
	manifests := renderWith(t, "self-signed", []string{"pinned-webhooks"})
	apply(t, cluster, manifests, "apply", "-f", "-")
	t.Cleanup(func() { uninstall(t, cluster, client, manifests) })
	apply(t, cluster, fenceConfig("subset"), "create", "-f", "-")
	config := cluster.As("system:serviceaccount:meshfence-system:meshfence", "system:serviceaccounts", "system:authenticated")
	own, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	hooks := func(c *kubernetes.Clientset, patch string) error {
		_, mutating := c.AdmissionregistrationV1().MutatingWebhookConfigurations().Patch(t.Context(), "meshfence", types.JSONPatchType, []byte(patch), metav1.PatchOptions{})
		_, validating := c.AdmissionregistrationV1().ValidatingWebhookConfigurations().Patch(t.Context(), "meshfence", types.JSONPatchType, []byte(patch), metav1.PatchOptions{})
		if (mutating == nil) != (validating == nil) {
			return fmt.Errorf("%s: %v for the mutating, %v for the validating configuration", patch, mutating, validating) //nolint:errorlint // there may be none
		}
		return errors.Join(mutating, validating)
	}
	const pinned = "meshfence may change only the caBundles"
	refused := func(patch string) error {
		err := hooks(own, patch)
		if _, both := err.(interface{ Unwrap() []error }); !both || !strings.Contains(err.Error(), pinned) {
			return fmt.Errorf("%s is not refused as it must be: %v", patch, err) //nolint:errorlint // there may be none
		}
		return nil
	}
	tries := 0
	eventually(t, "the policy is in force", func(context.Context) error {
		tries++ // what was accepted before must not make the next one change nothing
		return refused(fmt.Sprintf(`[{"op": "add", "path": "/metadata/labels/probe", "value": "%d"}]`, tries))
	})
	for _, patch := range []string{
		`[{"op": "remove", "path": "/webhooks/0"}]`,
		`[{"op": "copy", "from": "/webhooks/0", "path": "/webhooks/-"}, {"op": "replace", "path": "/webhooks/0/name", "value": "other.meshfence.io"}]`,
		`[{"op": "replace", "path": "/webhooks/0/rules/0/resources", "value": ["secrets"]}]`,
		`[{"op": "replace", "path": "/webhooks/0/rules/0/operations", "value": ["CREATE"]}]`,
		`[{"op": "replace", "path": "/webhooks/0/clientConfig/service/namespace", "value": "elsewhere"}]`,
		`[{"op": "remove", "path": "/webhooks/0/clientConfig/service"}, {"op": "add", "path": "/webhooks/0/clientConfig/url", "value": "https://elsewhere"}]`,
		`[{"op": "remove", "path": "/webhooks/0/namespaceSelector"}]`,
		`[{"op": "replace", "path": "/webhooks/0/objectSelector", "value": {"matchLabels": {"a": "b"}}}]`,
		`[{"op": "add", "path": "/webhooks/0/matchConditions", "value": [{"name": "none", "expression": "false"}]}]`,
		`[{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Fail"}, {"op": "replace", "path": "/webhooks/1/failurePolicy", "value": "Ignore"}]`,
		`[{"op": "replace", "path": "/webhooks/0/matchPolicy", "value": "Exact"}]`,
		`[{"op": "replace", "path": "/webhooks/0/timeoutSeconds", "value": 30}]`,
		`[{"op": "add", "path": "/metadata/annotations", "value": {"a": "b"}}]`,
		`[{"op": "add", "path": "/metadata/finalizers", "value": ["meshfence.io/keep"]}]`,
	} {
		if err := refused(patch); err != nil {
			t.Errorf("not refused: %v", err)
		}
	}
	reinvocation := []byte(`[{"op": "replace", "path": "/webhooks/0/reinvocationPolicy", "value": "Never"}]`)
	_, err = own.AdmissionregistrationV1().MutatingWebhookConfigurations().Patch(t.Context(), "meshfence", types.JSONPatchType, reinvocation, metav1.PatchOptions{})
	if err == nil || !strings.Contains(err.Error(), pinned) {
		t.Errorf("reinvocationPolicy: %v", err)
	}
	if err := hooks(client, `[{"op": "replace", "path": "/webhooks/0/timeoutSeconds", "value": 4}]`); err != nil {
		t.Errorf("an administrator is refused: %v", err)
	}
	serve(t, cluster, watch(t, cluster).URL, one[*appsv1.Deployment](t, "self-signed").Spec.Template.Spec.Containers[0].Args)
	eventually(t, "meshfence writes its caBundles", func(ctx context.Context) error {
		var missing []string
		for name, c := range clientConfigs(ctx, t, client) {
			if len(c.CABundle) == 0 {
				missing = append(missing, name)
			}
		}
		if len(missing) > 0 {
			return fmt.Errorf("no caBundle in %v", missing)
		}
		return nil
	})
	if warnings := typeWarnings(t, client); warnings != "" {
		t.Errorf("the API server warns of the expressions: %s", warnings)
	}
}

// clientConfigs are those of all webhooks.
func clientConfigs(ctx context.Context, t *testing.T, client *kubernetes.Clientset) map[string]admissionv1.WebhookClientConfig {
	t.Helper()
	mutating, err := client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(ctx, "meshfence", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	validating, err := client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(ctx, "meshfence", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]admissionv1.WebhookClientConfig{}
	for _, w := range mutating.Webhooks {
		found[w.Name] = w.ClientConfig
	}
	for _, w := range validating.Webhooks {
		found[w.Name] = w.ClientConfig
	}
	return found
}

// typeWarnings are what the API server has found wrong with the types in expressions.
func typeWarnings(t *testing.T, client *kubernetes.Clientset) string {
	t.Helper()
	pin, err := client.AdmissionregistrationV1().ValidatingAdmissionPolicies().Get(t.Context(), "meshfence-pinned-webhooks", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if pin.Status.TypeChecking == nil || len(pin.Status.TypeChecking.ExpressionWarnings) == 0 {
		return ""
	}
	text, err := json.Marshal(pin.Status.TypeChecking.ExpressionWarnings)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Every component is in an overlay, or has a test here.
func TestComponentsAreAllTested(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadDir(filepath.Join("..", "..", "manifests", "components"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	want := []string{"cert-manager", "client-ca", "fail-open", "istio-namespace", "metrics-auth", "monitoring", "network-policy", "own-namespace", "pinned-webhooks", "self-signed"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("components (-tested +present):\n%s", diff)
	}
}
