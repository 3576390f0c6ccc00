package manifests_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"

	"github.com/meshfence/meshfence/cluster"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/test/testbed"
)

// installNamespace is in no manifests of the chart.
const installNamespace = "\n---\n{apiVersion: v1, kind: Namespace, metadata: {name: meshfence-system}}\n"

// installer installs the release before this tree, and this tree, over whatever is there.
type installer struct {
	old, current string // the objects, which it installs
	install      func(t *testing.T, old bool)
	// again installs this tree in another way, if there is one, which must come to the same.
	again func(t *testing.T)
}

// Over the release before this tree everything becomes as it is where nothing was before, with no field left behind, and what
// users and meshfence have written stays; and so it is on the way back.
func TestUpgrade(t *testing.T) {
	bed, client := shared(t)
	release, err := testbed.Previous()
	if err != nil {
		t.Fatal(err)
	}
	if missing := release.Missing(); missing != "" {
		t.Log(missing)
	}
	for name, way := range installers(t, bed, release) {
		t.Run(name, func(t *testing.T) {
			fresh := func(old bool, manifests string) map[string]string {
				way.install(t, old)
				defer uninstall(t, bed, client, manifests+installNamespace)
				return stored(t, bed, manifests)
			}
			before, want := fresh(true, way.old), fresh(false, way.current)
			way.install(t, true)
			t.Cleanup(func() { uninstall(t, bed, client, way.old+"\n---\n"+way.current+installNamespace) })
			kept := keep(t, bed, client)
			way.install(t, false)
			if diff := cmp.Diff(want, stored(t, bed, way.current)); diff != "" {
				t.Errorf("upgraded (-fresh +upgraded):\n%s", diff)
			}
			checkKept(t, client, kept)
			for object := range before {
				kind, key, _ := strings.Cut(object, " ")
				namespace, name, _ := strings.Cut(key, "/")
				if want[object] == "" && apply(t, bed, "", "get", kind, name, "-n", namespace, "--ignore-not-found", "-o", "name") != "" {
					t.Errorf("%s is left behind: say in docs/operations.md what deletes it", object)
				}
			}
			if way.again != nil {
				way.again(t)
				if diff := cmp.Diff(want, stored(t, bed, way.current)); diff != "" {
					t.Errorf("upgraded again (-fresh +upgraded):\n%s", diff)
				}
			}
			way.install(t, true)
			if diff := cmp.Diff(before, stored(t, bed, way.old)); diff != "" {
				t.Errorf("rolled back (-fresh +rolled back):\n%s", diff)
			}
			checkKept(t, client, kept)
		})
	}
}

// installers are the ways to install, as docs/operations.md has them.
func installers(t *testing.T, bed *testbed.Cluster, release testbed.Release) map[string]installer {
	t.Helper()
	all := map[string]installer{}
	for overlay, args := range map[string][]string{"self-signed": {"apply"}, "cert-manager": {"apply", "--server-side"}} {
		folder, err := release.Overlay(overlay, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		old, current := kustomize(t, folder), render(t, overlay)
		all["kubectl "+strings.Join(args, " ")+" "+overlay] = installer{old: old, current: current, install: func(t *testing.T, isOld bool) {
			manifests := current
			if isOld {
				manifests = old
			}
			apply(t, bed, manifests, append(args[:len(args):len(args)], "-f", "-")...)
		}}
	}
	chart, err := release.Chart(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	template := func(chart string) string {
		out, err := helm(t, "", "", "template", "meshfence", chart, "--namespace", policy.InstallNamespace)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	upgrade := func(t *testing.T, chart string, args ...string) {
		t.Helper()
		args = append([]string{"upgrade", "--install", "meshfence", chart, "--create-namespace", "--namespace", policy.InstallNamespace}, args...)
		if _, err := helm(t, bed.Kubeconfig, "", args...); err != nil {
			t.Fatal(err)
		}
	}
	all["helm upgrade"] = installer{
		old: template(chart), current: template(chartFolder()),
		install: func(t *testing.T, old bool) {
			if old {
				upgrade(t, chart)
			} else {
				upgrade(t, chartFolder())
			}
		},
		again: func(t *testing.T) {
			upgrade(t, chart)
			upgrade(t, chartFolder(), "--reuse-values") // which has none for what is new in this tree
		},
	}
	return all
}

// keep writes what users and meshfence write, and returns it.
func keep(t *testing.T, bed *testbed.Cluster, client *kubernetes.Clientset) map[string]string {
	t.Helper()
	apply(t, bed, fenceConfig("subset"), "create", "-f", "-")
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "meshfence-ca"}, Data: map[string][]byte{"tls.crt": []byte("kept")}}
	if _, err := client.CoreV1().Secrets(policy.InstallNamespace).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	keepLastGood(t, client)
	return map[string]string{"ca": string(keepCA(t, client)), "config": configMap(t, client, policy.ConfigMapName)[policy.ConfigMapKey]}
}

// checkKept looks whether all of that is there, and as it was.
func checkKept(t *testing.T, client *kubernetes.Clientset, kept map[string]string) {
	t.Helper()
	checkCA(t, client, []byte(kept["ca"]))
	secret, err := client.CoreV1().Secrets(policy.InstallNamespace).Get(t.Context(), "meshfence-ca", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{kept["config"], "kept", "kept"}
	got := []string{configMap(t, client, policy.ConfigMapName)[policy.ConfigMapKey], configMap(t, client, cluster.LastGoodName)[policy.ConfigMapKey], string(secret.Data["tls.crt"])}
	if diff := cmp.Diff(want, got); diff != "" || kept["config"] == "" {
		t.Errorf("FenceConfig, last good one and CA (-want +got):\n%s", diff)
	}
}

// stored are the objects of manifests as the cluster has them, without what is of one time or written by others.
func stored(t *testing.T, bed *testbed.Cluster, manifests string) map[string]string {
	t.Helper()
	var list struct{ Items []unstructured.Unstructured }
	if err := json.Unmarshal([]byte(apply(t, bed, manifests, "get", "-f", "-", "-o", "json")), &list); err != nil {
		t.Fatal(err)
	}
	objects := map[string]string{}
	for _, o := range list.Items {
		for _, path := range [][]string{
			{"metadata", "uid"},
			{"metadata", "resourceVersion"},
			{"metadata", "generation"},
			{"metadata", "creationTimestamp"},
			{"metadata", "managedFields"},
			{"metadata", "annotations", "kubectl.kubernetes.io/last-applied-configuration"},
			{"metadata", "annotations", "deployment.kubernetes.io/revision"},
			{"status"},
			{"spec", "clusterIP"},
			{"spec", "clusterIPs"},
		} {
			unstructured.RemoveNestedField(o.Object, path...)
		}
		if len(o.GetAnnotations()) == 0 {
			unstructured.RemoveNestedField(o.Object, "metadata", "annotations")
		}
		if o.GetName() == cluster.LastGoodName {
			unstructured.RemoveNestedField(o.Object, "data")
		}
		webhooks, _, _ := unstructured.NestedSlice(o.Object, "webhooks")
		for _, webhook := range webhooks {
			unstructured.RemoveNestedField(webhook.(map[string]any), "clientConfig", "caBundle")
		}
		if webhooks != nil {
			o.Object["webhooks"] = webhooks
		}
		text, err := json.MarshalIndent(o.Object, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		objects[fmt.Sprintf("%s %s/%s", o.GetKind(), o.GetNamespace(), o.GetName())] = string(text)
	}
	if len(objects) == 0 {
		t.Fatal("no object is stored")
	}
	return objects
}

// What is kept of the release before this tree is what hack/previous.sh --update makes, where the clone has the release.
func TestPreviousIsKept(t *testing.T) {
	t.Parallel()
	release, err := testbed.Previous()
	if err != nil {
		t.Fatal(err)
	}
	revision, err := os.ReadFile(filepath.Join(filepath.Dir(release.Kept("")), "revision"))
	if err != nil {
		t.Fatal(err)
	}
	if missing := release.Missing(); missing != "" || !strings.HasPrefix(string(revision), release.Name) {
		t.Skipf("%s is what is kept, %s what is upgraded from; %s", strings.TrimSpace(string(revision)), release.Name, missing)
	}
	chart, err := release.Chart(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	values, err := os.ReadFile(filepath.Join(chart, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	made := map[string]string{"values": string(values)}
	for _, overlay := range []string{"self-signed", "cert-manager"} {
		folder, err := release.Overlay(overlay, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		made[overlay] = kustomize(t, folder)
	}
	for name, want := range made {
		kept, err := os.ReadFile(release.Kept(name))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(kept)); diff != "" {
			t.Errorf("%s (-release +kept):\n%s", name, diff)
		}
	}
}
