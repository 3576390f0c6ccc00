package manifests_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
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
