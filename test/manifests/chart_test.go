package manifests_test

import (
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"github.com/meshfence/meshfence/cluster"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/test/testbed"
)

const helmTool = "helm"

// chartFolder is what helm installs.
func chartFolder() string { return filepath.Join("..", "..", "charts", "meshfence") }

// helm runs helm with nothing of whoever runs the test, and with values as its input where they are not empty.
func helm(t *testing.T, kubeconfig, values string, args ...string) (string, error) {
	t.Helper()
	path, err := testbed.Tool(helmTool)
	if err != nil {
		t.Fatal(err)
	}
	if values != "" {
		args = append(args, "--values", "-")
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), path, args...)
	home := t.TempDir()
	cmd.Env = []string{"HOME=" + home, "KUBECONFIG=" + kubeconfig}
	cmd.Stdin, cmd.Stderr = strings.NewReader(values), &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("helm %s: %w\n%s%s", strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out), err
}

// template returns the objects of the chart.
func template(t *testing.T, namespace, values string) []runtime.Object {
	t.Helper()
	out, err := helm(t, "", values, "template", "meshfence", chartFolder(), "--namespace", namespace)
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(objects(t, out), func(o runtime.Object) bool { return o == nil })
}

// byName keys objects by kind and name.
func byName(t *testing.T, objects []runtime.Object) map[string]runtime.Object {
	t.Helper()
	out := map[string]runtime.Object{}
	for _, object := range objects {
		accessor, err := meta.Accessor(object)
		if err != nil {
			t.Fatal(err)
		}
		out[object.GetObjectKind().GroupVersionKind().Kind+" "+accessor.GetNamespace()+"/"+accessor.GetName()] = object
	}
	return out
}

// The chart installs what the overlays install, but for the Namespace, which Helm makes.
func TestChartIsTheOverlays(t *testing.T) {
	t.Parallel()
	values := map[string]string{
		"self-signed":  "",
		"cert-manager": "certificates: cert-manager",
		"dev":          "{image: {tag: dev}, replicas: 1, extraArgs: [--log-level=DEBUG]}",
	}
	for _, overlay := range overlays() {
		t.Run(overlay, func(t *testing.T) {
			t.Parallel()
			want := byName(t, objects(t, render(t, overlay)))
			delete(want, "Namespace /meshfence-system")
			if diff := cmp.Diff(want, byName(t, template(t, "meshfence-system", values[overlay]))); diff != "" {
				t.Errorf("objects (-kustomize +helm):\n%s", diff)
			}
		})
	}
}

// So it does with each component. Kinds that are not of Kubernetes are among them, so that what is compared has no types.
func TestChartIsTheComponents(t *testing.T) {
	t.Parallel()
	for folders, value := range map[string]string{
		"network-policy": "networkPolicy: true", "monitoring": "monitoring: true", "pinned-webhooks": "pinnedWebhooks: true",
		"fail-open": "failurePolicy: Ignore", "metrics-auth": "metricsAuth: true", "istio-namespace": "istioNamespace: true", "monitoring metrics-auth": "{monitoring: true, metricsAuth: true}",
	} {
		t.Run(folders, func(t *testing.T) {
			t.Parallel()
			out, err := helm(t, "", value, "template", "meshfence", chartFolder(), "--namespace", "meshfence-system")
			if err != nil {
				t.Fatal(err)
			}
			want := untyped(t, renderWith(t, "self-signed", strings.Fields(folders)))
			delete(want, "Namespace/meshfence-system")
			if diff := cmp.Diff(want, untyped(t, out)); diff != "" {
				t.Errorf("objects (-kustomize +helm):\n%s", diff)
			}
		})
	}
}

// untyped keys the objects of manifests by kind and name.
func untyped(t *testing.T, manifests string) map[string]map[string]any {
	t.Helper()
	out := map[string]map[string]any{}
	for document := range strings.SplitSeq(manifests, "\n---") {
		var object map[string]any
		if err := yaml.Unmarshal([]byte(document), &object); err != nil {
			t.Fatal(err)
		}
		if object != nil {
			u := unstructured.Unstructured{Object: object}
			out[u.GetKind()+"/"+u.GetName()] = object
		}
	}
	return out
}

// Every value does what it says.
func TestChartValues(t *testing.T) {
	t.Parallel()
	digest := "sha256:" + strings.Repeat("0", 64)
	all := template(t, "fences", `
image: {repository: example.com/fence, tag: v1, digest: "`+digest+`", pullPolicy: Always}
imagePullSecrets: [{name: registry}]
replicas: 3
failurePolicy: Ignore
excludedNamespaces: [odd]
fenceConfig: {controlPlane: {clusters: [m1c1], meshConfigMaps: [istio, istio-stable]}, holds: [subset]}
resources: {limits: {memory: 1Gi}}
podDisruptionBudget: false
priorityClassName: high
nodeSelector: {kind: quiet}
tolerations: [{key: quiet, operator: Exists}]
extraArgs: [--log-level=DEBUG]
`)
	deployment := only[*appsv1.Deployment](t, all)
	pod := deployment.Spec.Template.Spec
	container := pod.Containers[0]
	got := map[string]any{
		"image": container.Image, "pullPolicy": string(container.ImagePullPolicy), "imagePullSecrets": pod.ImagePullSecrets,
		"replicas": *deployment.Spec.Replicas, "memory": container.Resources.Limits.Memory().String(),
		"priorityClassName": pod.PriorityClassName, "nodeSelector": pod.NodeSelector, "tolerations": pod.Tolerations,
		"args": container.Args[len(container.Args)-1],
	}
	want := map[string]any{
		"image": "example.com/fence@" + digest, "pullPolicy": "Always", "imagePullSecrets": []corev1.LocalObjectReference{{Name: "registry"}},
		"replicas": int32(3), "memory": "1Gi", "priorityClassName": "high", "nodeSelector": map[string]string{"kind": "quiet"},
		"tolerations": []corev1.Toleration{{Key: "quiet", Operator: corev1.TolerationOpExists}}, "args": "--log-level=DEBUG",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Deployment (-want +got):\n%s", diff)
	}
	for _, webhook := range only[*admissionv1.ValidatingWebhookConfiguration](t, all).Webhooks {
		if *webhook.FailurePolicy != admissionv1.Ignore {
			t.Errorf("%s fails", webhook.Name)
		}
		values := webhook.NamespaceSelector.MatchExpressions[0].Values
		if own := webhook.Name == "config.validate.meshfence.io"; slices.Contains(values, "odd") == own {
			t.Errorf("%s selects by %v", webhook.Name, values)
		}
	}
	named := byName(t, all)
	config := named["ConfigMap fences/meshfence"].(*corev1.ConfigMap).Data[policy.ConfigMapKey]
	if _, err := policy.ParseConfig(policy.ConfigMapSource("fences", leak.IDs(leak.Rules())), []byte(config)); err != nil {
		t.Errorf("FenceConfig: %v\n%s", err, config)
	}
	if _, ok := named["PodDisruptionBudget fences/meshfence"]; ok {
		t.Error("there is a PodDisruptionBudget")
	}
	for names, want := range map[string][]string{"[istio, istio-stable]": {"istio", "istio-stable"}, "[]": {"istio"}} {
		rights := granted(template(t, "fences", "fenceConfig: {controlPlane: {meshConfigMaps: "+names+"}}"))
		if got := patched(rights); !slices.Equal(got, want) {
			t.Errorf("meshConfigMaps %s: may patch ConfigMaps %v, want %v", names, got, want)
		}
	}
	elsewhere := byName(t, template(t, "fences", "{istioNamespace: true, fenceConfig: {controlPlane: {istioNamespace: mesh}}}"))
	for _, name := range []string{"Role mesh/meshfence-mesh-config", "RoleBinding mesh/meshfence-mesh-config"} {
		if elsewhere[name] == nil {
			t.Errorf("there is no %s", name)
		}
	}
	for _, object := range all {
		text, err := yaml.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(text, []byte("meshfence-system")) {
			t.Errorf("an object of another namespace names meshfence-system:\n%s", text)
		}
	}
}

// patched lists the ConfigMaps that rights let patch, but for the one that meshfence keeps; "" stands for all.
func patched(rights []string) []string {
	var out []string
	for _, r := range rights {
		if name, ok := strings.CutPrefix(r, "patch /configmaps"); ok && name != "/"+cluster.LastGoodName {
			out = append(out, strings.TrimPrefix(name, "/"))
		}
	}
	return out
}

// What is no value is refused, and nothing is wrong with what is.
func TestChartSchema(t *testing.T) {
	t.Parallel()
	if _, err := helm(t, "", "", "lint", "--strict", chartFolder()); err != nil {
		t.Error(err)
	}
	for _, values := range []string{"replica: 3", "replicas: 0", "certificates: none", "failurePolicy: Maybe", "image: {digest: abc}", "image: {name: a}"} {
		if _, err := helm(t, "", values, "template", "meshfence", chartFolder()); err == nil || !strings.Contains(err.Error(), "schema") {
			t.Errorf("%s: want a refusal by the schema, got %v", values, err)
		}
	}
}

// A release is installed, upgraded, rolled back and uninstalled. What meshfence writes itself stays, and so does the
// FenceConfig.
func TestChartLifecycle(t *testing.T) {
	bed, client := shared(t)
	run := func(values string, args ...string) {
		t.Helper()
		if _, err := helm(t, bed.Kubeconfig, values, append(args, "--namespace", "meshfence-system")...); err != nil {
			t.Fatal(err)
		}
	}
	replicas := func(want int32) {
		t.Helper()
		deployment, err := client.AppsV1().Deployments("meshfence-system").Get(t.Context(), "meshfence", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got := *deployment.Spec.Replicas; got != want {
			t.Errorf("%d replicas, want %d", got, want)
		}
	}
	const config = "fenceConfig: {controlPlane: {clusters: [m1c1]}, holds: [subset]}\n"
	run(config, "install", "meshfence", chartFolder(), "--create-namespace")
	manifests := render(t, "self-signed")
	t.Cleanup(func() { uninstall(t, bed, client, manifests) })
	replicas(2)
	ca := keepCA(t, client)
	lastGood := keepLastGood(t, client)
	run(config+"replicas: 3", "upgrade", "meshfence", chartFolder())
	replicas(3)
	checkCA(t, client, ca)
	run("", "rollback", "meshfence", "1")
	replicas(2)
	checkCA(t, client, ca)
	if diff := cmp.Diff(lastGood, configMap(t, client, cluster.LastGoodName)); diff != "" {
		t.Errorf("last good FenceConfig (-want +got):\n%s", diff)
	}
	run("", "uninstall", "meshfence")
	if left := apply(t, bed, "", "get", "all,roles,rolebindings,poddisruptionbudgets", "-n", "meshfence-system", "-o", "name"); strings.Contains(left, "meshfence") {
		t.Errorf("left behind: %s", left)
	}
	if configMap(t, client, policy.ConfigMapName)[policy.ConfigMapKey] == "" {
		t.Error("the FenceConfig went with the release")
	}
}

// keepLastGood writes what meshfence keeps, and returns it.
func keepLastGood(t *testing.T, client *kubernetes.Clientset) map[string]string {
	t.Helper()
	patch := []byte(`{"data": {"config.yaml": "kept"}}`)
	if _, err := client.CoreV1().ConfigMaps("meshfence-system").Patch(t.Context(), cluster.LastGoodName, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	return configMap(t, client, cluster.LastGoodName)
}

func configMap(t *testing.T, client *kubernetes.Clientset, name string) map[string]string {
	t.Helper()
	found, err := client.CoreV1().ConfigMaps("meshfence-system").Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return found.Data
}
