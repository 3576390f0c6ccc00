package manifests_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/meshfence/meshfence/test/testbed"
)

// With the component, metrics go to the reader that it makes and to nobody else, with a certificate that the PodMonitor
// trusts; and meshfence needs no more rights for it than the component gives.
func TestMetricsAuth(t *testing.T) {
	cluster, client := shared(t)
	manifests := renderWith(t, "self-signed", []string{"metrics-auth"})
	apply(t, cluster, manifests, "apply", "-f", "-")
	t.Cleanup(func() { uninstall(t, cluster, client, manifests) })
	apply(t, cluster, fenceConfig("subset"), "create", "-f", "-")
	proxy := watch(t, cluster)
	serve(t, cluster, proxy.URL, only[*appsv1.Deployment](t, objects(t, manifests)).Spec.Template.Spec.Containers[0].Args)

	// As in the PodMonitor of the component.
	secret, err := client.CoreV1().Secrets("meshfence-system").Get(t.Context(), "meshfence-ca", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(secret.Data["tls.crt"]) {
		t.Fatal("the Secret of the CA has no certificate")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "meshfence.meshfence-system.svc"}}
	defer transport.CloseIdleConnections()
	ask := func(scheme, authorization string) (int, string, error) {
		url := scheme + "://" + net.JoinHostPort(cluster.Host(99).String(), "8080") + "/metrics"
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
		if err != nil {
			return 0, "", err
		}
		request.Header.Set("Authorization", authorization)
		response, err := (&http.Client{Transport: transport, Timeout: patience}).Do(request)
		if err != nil {
			return 0, "", err
		}
		body, err := io.ReadAll(response.Body)
		return response.StatusCode, string(body), errors.Join(err, response.Body.Close())
	}
	reader := "Bearer " + token(t, client, "meshfence-metrics-reader")
	for name, who := range map[string]struct {
		authorization string
		want          int
	}{
		"without a token":               {"", http.StatusUnauthorized},
		"with a token of nobody":        {"Bearer nobody", http.StatusUnauthorized},
		"with a right but no token":     {"Basic bWVzaGZlbmNlOg==", http.StatusUnauthorized},
		"with another ServiceAccount's": {"Bearer " + token(t, client, "meshfence"), http.StatusForbidden},
		"with the reader's":             {reader, http.StatusOK},
	} {
		code, body, err := ask("https", who.authorization)
		if err != nil || code != who.want || strings.Contains(body, "meshfence_build_info") != (code == http.StatusOK) {
			t.Errorf("%s: %d, want %d: %v, %.100s", name, code, who.want, err, body)
		}
	}
	if code, body, err := ask("http", reader); err == nil && (code != http.StatusBadRequest || strings.Contains(body, "meshfence")) {
		t.Errorf("without TLS: %d, %.100s", code, body)
	}
	checkDoctorReads(t, cluster, client)
	var given []runtime.Object
	for _, o := range objects(t, manifests) {
		if role, ok := o.(*rbacv1.ClusterRole); ok && role.Name == "meshfence-metrics-auth" {
			given = append(given, role)
		}
	}
	if missing := proxy.missing(granted(given)); len(given) != 1 || len(missing) > 0 {
		t.Errorf("of %d ClusterRoles, rights without use: %v", len(given), missing)
	}
	if forbidden := proxy.refused(); len(forbidden) > 0 {
		t.Errorf("forbidden: %v", forbidden)
	}
}

// checkDoctorReads has the doctor compare the replicas, as which the one that serves counts twice.
func checkDoctorReads(t *testing.T, cluster *testbed.Cluster, client *kubernetes.Clientset) {
	t.Helper()
	api := client.CoreV1().Pods("meshfence-system")
	t.Cleanup(func() { // no kubelet says that they have ended, and others that come are on no Node
		err := api.DeleteCollection(context.Background(), metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}, metav1.ListOptions{})
		if err != nil {
			t.Error(err)
		}
	})
	eventually(t, "both Pods are there", func(ctx context.Context) error {
		pods, err := api.List(ctx, metav1.ListOptions{})
		if err != nil || len(pods.Items) != 2 {
			return fmt.Errorf("%d Pods: %w", len(pods.Items), err)
		}
		for _, pod := range pods.Items {
			binding := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: pod.Name}, Target: corev1.ObjectReference{Kind: "Node", Name: cluster.Node()}}
			if err := api.Bind(ctx, binding, metav1.CreateOptions{}); err != nil && !apierrors.IsConflict(err) {
				return err
			}
			status := fmt.Sprintf(`{"status": {"phase": "Running", "podIP": %[1]q, "podIPs": [{"ip": %[1]q}], "conditions": [{"type": "Ready", "status": "True"}]}}`, cluster.Host(99))
			if _, err := api.Patch(ctx, pod.Name, types.MergePatchType, []byte(status), metav1.PatchOptions{}, "status"); err != nil {
				return err
			}
		}
		return nil
	})
	binary, err := testbed.Tool(testbed.ToolMeshfence)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), binary, "doctor", "-o", "json", "--kubeconfig="+cluster.Kubeconfig).Output()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended { // much else is wrong here
		t.Fatal(err)
	}
	var report struct {
		Results []struct{ Check, Outcome, Seen string }
	}
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	var said []string
	for _, r := range report.Results {
		if r.Check == "same-config" {
			said = append(said, r.Outcome+" "+r.Seen)
		}
	}
	if diff := cmp.Diff([]string{"ok 2 replicas agree"}, said); diff != "" {
		t.Errorf("the doctor says (-want +got):\n%s", diff)
	}
}

// token returns one of a ServiceAccount of meshfence's namespace, as a Pod would get it.
func token(t *testing.T, client *kubernetes.Clientset, account string) string {
	t.Helper()
	request, err := client.CoreV1().ServiceAccounts("meshfence-system").CreateToken(t.Context(), account, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return request.Status.Token
}

// What reviews tokens is granted where it is asked for, and nowhere else; and what scrapes follows, in whatever namespace.
func TestMetricsAuthIsAsked(t *testing.T) {
	t.Parallel()
	for _, overlay := range overlays() {
		if manifests := render(t, overlay); strings.Contains(manifests, "tokenreviews") || strings.Contains(manifests, "--metrics-auth") {
			t.Errorf("overlay %s reviews tokens", overlay)
		}
	}
	for _, components := range [][]string{{"monitoring"}, {"metrics-auth"}, {"monitoring", "metrics-auth"}} {
		want := strings.ReplaceAll(renderWith(t, "self-signed", components), "meshfence-system", "platform")
		got := renderWith(t, "self-signed", components, "namespace: platform", "transformers: [$/components/own-namespace]")
		if diff := cmp.Diff(untyped(t, want), untyped(t, got)); diff != "" {
			t.Errorf("%v in another namespace (-want +got):\n%s", components, diff)
		}
		if named := strings.Contains(got, "serverName: meshfence.platform.svc\n"); named != (len(components) == 2) {
			t.Errorf("%v: the PodMonitor names a server: %t", components, named)
		}
	}
}
