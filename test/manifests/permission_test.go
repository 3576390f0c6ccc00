package manifests_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/test/testbed"
)

// granted lists the rights in manifests, as "verb group/resource" or "verb group/resource/name".
func granted(manifests []runtime.Object) []string {
	var rules []rbacv1.PolicyRule
	for _, object := range manifests {
		switch o := object.(type) {
		case *rbacv1.Role:
			rules = append(rules, o.Rules...)
		case *rbacv1.ClusterRole:
			rules = append(rules, o.Rules...)
		}
	}
	var out []string
	for _, rule := range rules {
		names := rule.ResourceNames
		if len(names) == 0 {
			names = []string{""}
		}
		for _, verb := range rule.Verbs {
			for _, group := range rule.APIGroups {
				for _, resource := range rule.Resources {
					for _, name := range names {
						out = append(out, right(verb, group, resource, name))
					}
				}
			}
		}
	}
	return out
}

func right(verb, group, resource, name string) string {
	return strings.TrimSuffix(fmt.Sprintf("%s %s/%s/%s", verb, group, resource, name), "/")
}

// watched is between a meshfence process and the API server, acts as the ServiceAccount, and remembers what was
// asked for and what was forbidden.
type watched struct {
	*httptest.Server
	mu        sync.Mutex
	used      sets.Set[string]
	forbidden []string
}

func watch(t *testing.T, cluster *testbed.Cluster) *watched {
	t.Helper()
	config := cluster.As("system:serviceaccount:meshfence-system:meshfence",
		"system:serviceaccounts", "system:serviceaccounts:meshfence-system", "system:authenticated")
	transport, err := rest.TransportFor(config)
	if err != nil {
		t.Fatal(err)
	}
	target, err := url.Parse(config.Host)
	if err != nil {
		t.Fatal(err)
	}
	w := &watched{used: sets.New[string]()}
	w.Server = httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:      transport,
		FlushInterval:  -1, // watches
		ModifyResponse: w.remember,
		// The process that asks gets the error; one that is being stopped hangs up on its watches.
		ErrorHandler: func(rw http.ResponseWriter, _ *http.Request, err error) {
			http.Error(rw, err.Error(), http.StatusBadGateway)
		},
	})
	t.Cleanup(w.Close)
	return w
}

func (w *watched) remember(response *http.Response) error {
	factory := apirequest.RequestInfoFactory{APIPrefixes: sets.NewString("api", "apis"), GrouplessAPIPrefixes: sets.NewString("api")}
	info, err := factory.NewRequestInfo(response.Request)
	if err != nil {
		return err
	}
	body := []byte{}
	if response.StatusCode == http.StatusForbidden {
		if body, err = io.ReadAll(response.Body); err != nil {
			return err
		}
		response.Body = io.NopCloser(bytes.NewReader(body))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	// A namespace that another test has deleted takes nothing new; that is no lack of a right.
	if response.StatusCode == http.StatusForbidden && !bytes.Contains(body, []byte(corev1.NamespaceTerminatingCause)) {
		w.forbidden = append(w.forbidden, info.Verb+" "+response.Request.URL.Path)
	}
	if info.IsResourceRequest && response.StatusCode != http.StatusForbidden {
		w.used.Insert(right(info.Verb, info.APIGroup, info.Resource, info.Name), right(info.Verb, info.APIGroup, info.Resource, ""))
	}
	return nil
}

// missing returns the rights that were not used yet.
func (w *watched) missing(rights []string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(slices.Values(slices.DeleteFunc(slices.Clone(rights), w.used.Has)))
}

// refused returns what the API server forbade.
func (w *watched) refused() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.forbidden)
}

// unseen are the rights that the libraries use only where no test can bring them to.
func unseen(rights []string) []string {
	var out []string
	for _, r := range rights {
		verb, resource, _ := strings.Cut(r, " ")
		switch {
		// client-go lists only where the API server cannot stream a list as a watch; the audit lists by itself.
		case verb == "list" && !slices.Contains(listed(), resource):
		// An event that is repeated for the same version of an object is counted by a patch.
		case verb == "patch" && strings.HasSuffix(resource, "/events"):
		default:
			continue
		}
		out = append(out, r)
	}
	slices.Sort(out)
	return out
}

// listed are the resources that the audit lists.
func listed() []string {
	return []string{"/services", "/namespaces", "/pods", "discovery.k8s.io/endpointslices"}
}

// Meshfence itself, as the ServiceAccount of an overlay, is never forbidden anything, and it uses all of its rights.
func TestPermissions(t *testing.T) {
	cluster, client := shared(t)
	for _, overlay := range []string{"self-signed", "cert-manager"} {
		t.Run(overlay, func(t *testing.T) {
			manifests := render(t, overlay)
			apply(t, cluster, manifests, "apply", "-f", "-")
			t.Cleanup(func() { uninstall(t, cluster, client, manifests) })
			apply(t, cluster, fenceConfig("meshConfig, subset"), "create", "-f", "-")
			rights := granted(objects(t, manifests))

			apply(t, cluster, meshScene, "apply", "-f", "-")
			t.Cleanup(func() {
				if _, _, err := cluster.Kubectl(context.Background(), meshScene, "delete", "-f", "-"); err != nil {
					t.Error(err)
				}
			})
			proxy := watch(t, cluster)
			address := serve(t, cluster, proxy.URL, one[*appsv1.Deployment](t, overlay).Spec.Template.Spec.Containers[0].Args)
			provoke(t, client, address, overlay)
			provokeController(t, cluster, address)
			eventually(t, "every right is used", func(context.Context) error {
				if diff := cmp.Diff(unseen(rights), proxy.missing(rights)); diff != "" {
					return fmt.Errorf("rights without use (-want +got):\n%s", diff)
				}
				return nil
			})
			if forbidden := proxy.refused(); len(forbidden) > 0 {
				t.Errorf("forbidden: %v", forbidden)
			}
		})
	}
}

// serve runs meshfence with the arguments of the Deployment against a server and returns where its webhook listens.
func serve(t *testing.T, cluster *testbed.Cluster, server string, args []string) string {
	t.Helper()
	path, err := testbed.Tool(testbed.ToolMeshfence)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	kubeconfig := filepath.Join(dir, "kubeconfig")
	content := fmt.Sprintf(`{apiVersion: v1, kind: Config, current-context: c, clusters: [{name: c, cluster: {server: "%s"}}],
contexts: [{name: c, context: {cluster: c}}]}`, server)
	if err := os.WriteFile(kubeconfig, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	writeCertificate(t, dir)
	address := func(port string) string { return net.JoinHostPort(cluster.Host(99).String(), port) }
	ready := func(ctx context.Context) error {
		return get(ctx, "http://"+address("8081")+"/readyz", nil)
	}
	process, err := testbed.StartProcess(t.Context(), testbed.Command{
		Name: "meshfence", Path: path, Dir: dir, Ready: ready,
		Env: []string{"POD_NAMESPACE=meshfence-system"},
		Args: append(slices.Clone(args), "--kubeconfig="+kubeconfig, "--certificate-dir="+dir,
			"--webhook-address="+address("9443"), "--metrics-address="+address("8080"), "--health-address="+address("8081")),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		process.Stop(patience)
		if t.Failed() {
			t.Log(process.Log(30))
		}
	})
	return "https://" + address("9443")
}

// provoke brings about what does not happen by itself.
func provoke(t *testing.T, client *kubernetes.Clientset, address, overlay string) {
	t.Helper()
	if overlay == "self-signed" {
		// A CA that is not complete is made anew.
		patch := []byte(`{"data": {"ca.crt": ""}}`)
		if _, err := client.CoreV1().Secrets("meshfence-system").Patch(t.Context(), "meshfence-ca", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	// A FenceConfig that is not valid is an event; the last good one stays in force.
	maps := client.CoreV1().ConfigMaps("meshfence-system")
	patch := []byte(`{"data": {"` + policy.ConfigMapKey + `": "none"}}`)
	if _, err := maps.Patch(t.Context(), policy.ConfigMapName, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	// A Service and a Namespace that the informers do not know are read.
	const review = `{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": "1", "operation": "CREATE",
"namespace": "unknown", "name": "a", "kind": {"group": "networking.istio.io", "version": "v1", "kind": "DestinationRule"},
"resource": {"group": "networking.istio.io", "version": "v1", "resource": "destinationrules"},
"object": {"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"namespace": "unknown", "name": "a"},
"spec": {"host": "unknown.unknown.svc.cluster.local"}}}}`
	// The Pod of a Binding with labels is read.
	const binding = `{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": "1", "operation": "CREATE",
"namespace": "unknown", "name": "a", "kind": {"version": "v1", "kind": "Binding"}, "resource": {"version": "v1", "resource": "pods"},
"subResource": "binding", "object": {"apiVersion": "v1", "kind": "Binding", "metadata": {"namespace": "unknown", "name": "a", "labels": {"a": "b"}}}}}`
	for _, r := range []string{review, binding} {
		if err := get(t.Context(), address+"/validate", strings.NewReader(r)); err != nil {
			t.Fatal(err)
		}
	}
}

// fenceConfig is the ConfigMap with the FenceConfig.
func fenceConfig(holds string) string {
	return fmt.Sprintf(`{apiVersion: v1, kind: ConfigMap, metadata: {name: meshfence, namespace: meshfence-system}, data: {config.yaml:
"{apiVersion: config.meshfence.io/v1alpha1, kind: FenceConfig, controlPlane: {clusters: [cluster1]}, holds: [%s]}"}}`, holds)
}

// meshScene is a mesh ConfigMap, without which the hold would change, and everything be looked at again, all the time.
const meshScene = `
apiVersion: v1
kind: Namespace
metadata: {name: istio-system}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: "{}"}
`

// controllerScene is a fenced Service, and one whose companions have their names taken; and a Gateway of no class.
const controllerScene = `
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop, annotations: {meshfence.io/fence: strict}}
spec: {selector: {app: reviews}, ports: [{name: http, port: 9080}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front, namespace: shop}
spec: {gatewayClassName: gone, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: v1
kind: Namespace
metadata: {name: client}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: old, namespace: client}
spec: {host: reviews.shop.svc.cluster.local}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: old, namespace: client}
spec: {hosts: [any.example.com], gateways: [any], http: [{route: [{destination: {host: ratings}}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: ratings, namespace: client, annotations: {meshfence.io/fence: strict}}
spec: {selector: {app: ratings}, ports: [{name: http, port: 9080}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ratings-meshfence, namespace: client}
spec: {host: taken.example.com}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ratings-meshfence, namespace: client}
spec: {hosts: [taken.example.com], http: [{route: [{destination: {host: taken.example.com}}]}]}
`

// provokeController brings about each write of the controller. The API server does not reach the webhook here, so
// that nothing may need it.
func provokeController(t *testing.T, cluster *testbed.Cluster, address string) {
	t.Helper()
	run := func(stdin string, args ...string) {
		t.Helper()
		if _, _, err := cluster.Kubectl(t.Context(), stdin, args...); err != nil {
			t.Fatal(err)
		}
	}
	exists := func(want bool) {
		t.Helper()
		for _, kind := range []string{"destinationrule", "virtualservice"} {
			eventually(t, kind+" of the companion", func(ctx context.Context) error {
				out, _, err := cluster.Kubectl(ctx, "", "get", kind, "-n", "shop", "-o", "name")
				if err == nil && (out != "") != want {
					err = fmt.Errorf("found %q, want one: %t", out, want)
				}
				return err
			})
		}
	}
	run("", "patch", "validatingwebhookconfiguration", "meshfence", "--type=json", "-p",
		`[{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]`)
	run(controllerScene, "apply", "-f", "-")
	t.Cleanup(func() {
		// One of the scene may be a companion by now, and nobody answers who judges that it goes.
		const configuration = "validatingwebhookconfiguration/meshfence"
		if _, _, err := cluster.Kubectl(context.Background(), "", "delete", "--ignore-not-found", configuration); err != nil {
			t.Error(err)
		}
		if _, _, err := cluster.Kubectl(context.Background(), controllerScene, "delete", "--ignore-not-found", "-f", "-"); err != nil {
			t.Error(err)
		}
	})
	// Only hold subset alone needs a VirtualService.
	configure := func(holds string) {
		run(fenceConfig(holds), "replace", "-f", "-")
	}
	eventually(t, "the mesh config holds the Service", func(ctx context.Context) error {
		out, _, err := cluster.Kubectl(ctx, "", "get", "configmap", "istio", "-n", "istio-system", "-o", "jsonpath={.data.mesh}")
		if err == nil && !strings.Contains(out, "reviews.shop.svc.cluster.local") {
			err = fmt.Errorf("mesh config %s", out)
		}
		return err
	})
	configure("subset")
	exists(true)
	askForClasses(t, address)
	for kind, field := range map[string]string{"destinationrule": "host", "virtualservice": "hosts/0"} {
		run("", "patch", kind, "reviews-meshfence", "-n", "shop", "--type=json", "-p",
			fmt.Sprintf(`[{"op": "replace", "path": "/spec/%s", "value": "spoilt.example.com"}]`, field))
	}
	run("", "annotate", "service", "reviews", "-n", "shop", "touched=yes")
	eventually(t, "the companions are fixed", func(ctx context.Context) error {
		out, _, err := cluster.Kubectl(ctx, "", "get", "destinationrule,virtualservice", "-n", "shop", "-o", "yaml")
		if err == nil && strings.Contains(out, "spoilt.example.com") {
			err = errors.New("still spoilt")
		}
		return err
	})
	run("", "annotate", "service", "reviews", "-n", "shop", "meshfence.io/fence-")
	exists(false)
	// Only hold locality without localities reads the Nodes.
	configure("locality")
}

// askForClasses has an Ingress and a route judged whose classes no informer knows.
func askForClasses(t *testing.T, address string) {
	t.Helper()
	for kind, spec := range map[string]string{
		"networking.k8s.io Ingress ingresses":            `{"ingressClassName": "gone", "defaultBackend": {"service": {"name": "reviews"}}}`,
		"gateway.networking.k8s.io HTTPRoute httproutes": `{"parentRefs": [{"name": "gone"}, {"name": "front"}], "rules": [{"backendRefs": [{"name": "reviews"}]}]}`,
	} {
		names := strings.Fields(kind)
		review := fmt.Sprintf(`{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": "1", "operation": "CREATE",
"namespace": "shop", "name": "a", "kind": {"group": "%[1]s", "version": "v1", "kind": "%[2]s"},
"resource": {"group": "%[1]s", "version": "v1", "resource": "%[3]s"},
"object": {"apiVersion": "%[1]s/v1", "kind": "%[2]s", "metadata": {"namespace": "shop", "name": "a"}, "spec": %[4]s}}}`,
			names[0], names[1], names[2], spec)
		if err := get(t.Context(), address+"/validate", strings.NewReader(review)); err != nil {
			t.Fatal(err)
		}
	}
}

// get asks for a URL, by POST where there is a body, and expects success.
func get(ctx context.Context, address string, body io.Reader) error {
	method := http.MethodGet
	if body != nil {
		method = http.MethodPost
	}
	r, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Do(r)
	if err != nil {
		return err
	}
	answer, err := io.ReadAll(response.Body)
	if response.StatusCode != http.StatusOK {
		err = errors.Join(err, fmt.Errorf("%s: %s", response.Status, answer))
	}
	return errors.Join(err, response.Body.Close())
}

// writeCertificate writes what cert-manager would put into the mounted Secret.
func writeCertificate(t *testing.T, dir string) {
	t.Helper()
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	der, err := x509.MarshalPKCS8PrivateKey(server.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	for name, content := range map[string][]byte{corev1.TLSCertKey: encode(server.Certificate()), corev1.TLSPrivateKeyKey: key} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
