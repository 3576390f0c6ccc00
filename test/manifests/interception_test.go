package manifests_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"

	"github.com/meshfence/meshfence/test/testbed"
)

// recorder is a webhook that allows everything and remembers which entries called it.
type recorder struct {
	*httptest.Server
	mu    sync.Mutex
	calls map[string]bool
}

func newRecorder(t *testing.T) *recorder {
	t.Helper()
	r := &recorder{calls: map[string]bool{}}
	r.Server = httptest.NewTLSServer(r)
	t.Cleanup(r.Close)
	return r
}

// ServeHTTP answers a review; the path is the name of the entry.
func (r *recorder) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	var review admissionv1.AdmissionReview
	if err := json.NewDecoder(request.Body).Decode(&review); err != nil || review.Request == nil {
		http.Error(w, "not a review", http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	r.calls[strings.TrimPrefix(request.URL.Path, "/")] = true
	r.mu.Unlock()
	review.Response, review.Request = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}, nil
	// An answer that does not arrive fails the request that asked for it.
	_ = json.NewEncoder(w).Encode(review)
}

// take returns the entries that called since the last time.
func (r *recorder) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for name := range r.calls {
		out = append(out, name)
	}
	slices.Sort(out)
	clear(r.calls)
	return out
}

func (r *recorder) target(entry string) admissionregistrationv1.WebhookClientConfig {
	return admissionregistrationv1.WebhookClientConfig{URL: new(r.URL + "/" + entry), CABundle: encode(r.Certificate())}
}

// register creates both webhook configurations of an overlay with the recorder in the place of the Service.
func (r *recorder) register(t *testing.T, cluster *testbed.Cluster, overlay string) {
	t.Helper()
	mutating := one[*admissionregistrationv1.MutatingWebhookConfiguration](t, overlay)
	for i := range mutating.Webhooks {
		mutating.Webhooks[i].ClientConfig = r.target(mutating.Webhooks[i].Name)
	}
	validating := one[*admissionregistrationv1.ValidatingWebhookConfiguration](t, overlay)
	for i := range validating.Webhooks {
		validating.Webhooks[i].ClientConfig = r.target(validating.Webhooks[i].Name)
	}
	manifests, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "List", "items": []any{mutating, validating}})
	if err != nil {
		t.Fatal(err)
	}
	apply(t, cluster, string(manifests), "create", "-f", "-")
	t.Cleanup(func() {
		// The context of the test has ended by now.
		if _, _, err := cluster.Kubectl(context.Background(), string(manifests), "delete", "-f", "-"); err != nil {
			t.Error(err)
		}
	})
}

// attempt is a request to the API server, all of it in a dry run.
type attempt struct {
	args  string
	stdin string
	want  []string // the entries that are called, sorted
}

func create(namespace, apiVersion, kind, name, rest string) attempt {
	object := fmt.Sprintf("{apiVersion: %s, kind: %s, metadata: {name: %s%s", apiVersion, kind, name, rest)
	return attempt{args: "create -f - -n " + namespace, stdin: object}
}

// as has another user ask, who has the rights that Kubernetes gives it.
func (a attempt) as(user string) attempt {
	a.args += " --as=" + user
	return a
}

func (a attempt) calls(entries ...string) attempt {
	for _, e := range entries {
		a.want = append(a.want, e+".meshfence.io")
	}
	slices.Sort(a.want)
	return a
}

func (a attempt) run(t *testing.T, cluster *testbed.Cluster) error {
	args := strings.Fields(a.args)
	if !strings.Contains(a.args, "dryRun=All") {
		args = append(args, "--dry-run=server")
	}
	_, _, err := cluster.Kubectl(t.Context(), a.stdin, args...)
	return err
}

// change runs one kubectl command now and another when the test ends.
func change(t *testing.T, cluster *testbed.Cluster, now, end string) {
	t.Helper()
	if _, _, err := cluster.Kubectl(t.Context(), "", strings.Fields(now)...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The context of the test has ended by now.
		if _, _, err := cluster.Kubectl(context.Background(), "", strings.Fields(end)...); err != nil {
			t.Error(err)
		}
	})
}

// failsClosed reports whether an outage of the webhook refuses the request.
func (a attempt) failsClosed() bool {
	return slices.ContainsFunc(a.want, func(entry string) bool { return policies()[entry] == admissionregistrationv1.Fail })
}

// A real API server calls the entries that it should and no other, and in an outage it refuses only what fails closed.
func TestInterception(t *testing.T) {
	cluster, _ := shared(t)
	r := newRecorder(t)
	plain, strict := cluster.CreateNamespace(t, nil), cluster.CreateNamespace(t, map[string]string{"meshfence.io/fence": "strict"})
	// The API server's own Service is in there.
	change(t, cluster, "label namespace default meshfence.io/fence=prefer", "label namespace default meshfence.io/fence-")
	change(t, cluster, "create namespace meshfence-system", "delete namespace meshfence-system")
	for _, rule := range []string{"own", "fenced-meshfence, labels: {app.kubernetes.io/managed-by: meshfence}"} {
		apply(t, cluster, "{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: "+rule+"}, spec: {host: reviews}}", "apply", "-n", plain, "-f", "-")
	}
	for name, key := range map[string]string{"existing-mesh": "mesh", "existing-other": "other"} {
		apply(t, cluster, "{apiVersion: v1, kind: ConfigMap, metadata: {name: "+name+"}, data: {"+key+": '{}'}}", "apply", "-n", plain, "-f", "-")
	}
	for _, object := range []string{
		"{apiVersion: v1, kind: Service, metadata: {name: kept, labels: {meshfence.io/fenced: strict}}, spec: {ports: [{port: 80}]}}",
		"{apiVersion: v1, kind: Service, metadata: {name: loosened, annotations: {meshfence.io/fence: none}}, spec: {ports: [{port: 80}]}}",
		"{apiVersion: v1, kind: Pod, metadata: {name: unbound}, spec: {containers: [{name: a, image: none}]}}",
		"{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: kept}, spec: {hosts: [a.example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}}",
	} {
		apply(t, cluster, object, "apply", "-n", plain, "-f", "-")
	}
	if err := cluster.CreatePod(t.Context(), plain, "kept", cluster.Host(7), map[string]string{"topology.istio.io/network": "n2"}); err != nil {
		t.Fatal(err)
	}
	r.register(t, cluster, "self-signed")

	status := func(resource, namespace, patch string) attempt {
		return attempt{args: "patch " + resource + " -n " + namespace + " --subresource=status --type=merge -p " + patch}
	}
	binding := func(labels string) attempt {
		return attempt{
			args:  "create -f - --raw /api/v1/namespaces/" + plain + "/pods/unbound/binding?dryRun=All",
			stdin: `{"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "unbound", "labels": {` + labels + `}}, "target": {"kind": "Node", "name": "a"}}`,
		}
	}
	const (
		rule    = "}, spec: {host: reviews}}"
		routes  = "}, spec: {hosts: [reviews], http: [{route: [{destination: {host: reviews}}]}]}}"
		entry   = "}, spec: {hosts: [example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}}"
		service = "}, spec: {ports: [{port: 80}]}}"
		pod     = "}, spec: {containers: [{name: a, image: none}]}}"
	)
	attempts := map[string]attempt{
		"DestinationRule v1":      create(plain, "networking.istio.io/v1", "DestinationRule", "a", rule).calls("istio.mutate", "istio.validate"),
		"DestinationRule v1beta1": create(plain, "networking.istio.io/v1beta1", "DestinationRule", "a", rule).calls("istio.mutate", "istio.validate"),
		"VirtualService v1alpha3": create(strict, "networking.istio.io/v1alpha3", "VirtualService", "a", routes).calls("istio.mutate", "istio.validate"),
		"ServiceEntry":            create(plain, "networking.istio.io/v1", "ServiceEntry", "a", entry).calls("istio.validate"),
		"Sidecar":                 create(plain, "networking.istio.io/v1", "Sidecar", "a", "}, spec: {egress: [{hosts: ['*/*']}]}}").calls("istio.validate"),
		"WorkloadEntry":           create(plain, "networking.istio.io/v1", "WorkloadEntry", "a", "}, spec: {address: 10.9.9.9}}").calls("istio.validate"),
		"WorkloadGroup":           create(plain, "networking.istio.io/v1", "WorkloadGroup", "a", "}, spec: {template: {}}}").calls("istio.validate"),
		"Gateway":                 create(plain, "networking.istio.io/v1", "Gateway", "a", "}, spec: {servers: []}}").calls("warnings.validate"),
		"EnvoyFilter":             create(plain, "networking.istio.io/v1alpha3", "EnvoyFilter", "a", "}, spec: {configPatches: []}}").calls("warnings.validate"),
		"ProxyConfig":             create(plain, "networking.istio.io/v1beta1", "ProxyConfig", "a", "}, spec: {concurrency: 1}}").calls("istio.validate"),
		"other Istio kind":        create(plain, "security.istio.io/v1", "PeerAuthentication", "a", "}, spec: {mtls: {mode: STRICT}}}"),
		"WasmPlugin":              create(plain, "extensions.istio.io/v1alpha1", "WasmPlugin", "a", "}, spec: {url: a}}").calls("warnings.validate"),
		"TrafficExtension":        create(plain, "extensions.istio.io/v1alpha1", "TrafficExtension", "a", "}, spec: {wasm: {url: a}}}").calls("warnings.validate"),
		"HTTPRoute":               create(plain, "gateway.networking.k8s.io/v1", "HTTPRoute", "a", "}, spec: {parentRefs: [{name: a}]}}").calls("routes.validate"),
		"HTTPRoute v1beta1":       create(plain, "gateway.networking.k8s.io/v1beta1", "HTTPRoute", "a", "}, spec: {parentRefs: [{name: a}]}}").calls("routes.validate"),
		"GRPCRoute":               create(plain, "gateway.networking.k8s.io/v1", "GRPCRoute", "a", "}, spec: {parentRefs: [{name: a}]}}").calls("routes.validate"),
		"TCPRoute":                create(plain, "gateway.networking.k8s.io/v1alpha2", "TCPRoute", "a", "}, spec: {rules: [{backendRefs: [{name: a, port: 80}]}]}}").calls("routes.validate"),
		"Ingress":                 create(plain, "networking.k8s.io/v1", "Ingress", "a", "}, spec: {defaultBackend: {service: {name: a, port: {number: 80}}}}}").calls("routes.validate"),
		"ServiceExport":           create(plain, "multicluster.x-k8s.io/v1alpha1", "ServiceExport", "a", "}}").calls("routes.validate"),
		"Endpoints":               create(plain, "v1", "Endpoints", "a", "}, subsets: [{addresses: [{ip: 10.9.9.9}]}]}").calls("endpoints.validate"),
		"EndpointSlice":           create(plain, "discovery.k8s.io/v1", "EndpointSlice", "a", "}, addressType: IPv4, endpoints: [{addresses: [10.9.9.9]}]}").calls("endpoints.validate"),
		"EndpointSlice of the controller": create(plain, "discovery.k8s.io/v1", "EndpointSlice", "a", "}, addressType: IPv4, endpoints: [{addresses: [10.9.9.9]}]}").
			as("system:serviceaccount:kube-system:endpointslice-controller"),
		"companion": attempt{args: "delete destinationrule fenced-meshfence -n " + plain}.calls("companions.validate"),
		"companion, by the garbage collector": attempt{args: "delete destinationrule fenced-meshfence -n " + plain}.
			as("system:serviceaccount:kube-system:generic-garbage-collector"),
		"DestinationRule deleted": {args: "delete destinationrule own -n " + plain},
		"rule in kube-system":     create("kube-system", "networking.istio.io/v1", "DestinationRule", "a", rule),
		"Service":                 create(plain, "v1", "Service", "a", service).calls("services.mutate", "services.validate"),
		"Service, fenced":         create(strict, "v1", "Service", "a", service).calls("fenced-services.validate", "services.mutate"),
		"Service, kube-system":    create("kube-system", "v1", "Service", "a", service),
		"Service, meshfence":      create("meshfence-system", "v1", "Service", "a", service),
		"Service, default":        create("default", "v1", "Service", "a", service).calls("fenced-services.validate", "services.mutate"),
		"Service of API server":   attempt{args: "annotate service kubernetes -n default a=b"}.calls("services.mutate"),
		"Service status":          {args: "patch service kubernetes -n default --subresource=status -p {\"metadata\":{\"annotations\":{\"a\":\"b\"}}}"},
		"Service status, fence":   status("service kubernetes", "default", `{"metadata":{"annotations":{"meshfence.io/fence":"none"}}}`).calls("services-status.validate"),
		"Service status, network": status("service kept", plain, `{"metadata":{"labels":{"topology.istio.io/network":"n1"}}}`).calls("services-status.validate"),
		"Pod status, label":       status("pod kept", plain, `{"metadata":{"labels":{"app":"reviews"}}}`).calls("pods-status.validate"),
		"Pod status":              status("pod kept", plain, `{"status":{"message":"a"}}`),
		"Namespace status, label": status("namespace "+plain, plain, `{"metadata":{"labels":{"a":"b"}}}`).calls("namespaces-status.validate"),
		"Namespace status":        status("namespace "+plain, plain, `{"status":{"conditions":[{"type":"A","status":"True"}]}}`),
		"ServiceEntry status":     status("serviceentry kept", plain, `{"status":{"addresses":[{"value":"10.0.0.1"}]}}`).calls("istio-status.validate"),
		"ServiceEntry, allocated": status("serviceentry kept", plain, `{"status":{"addresses":[{"value":"240.240.0.7","host":"a.example.com"},{"value":"2001:2::7","host":"a.example.com"}]}}`),
		"Binding":                 binding(""),
		"Binding, place":          binding(`"topology.kubernetes.io/region": "r", "topology.kubernetes.io/zone": "z"`),
		"Binding, label":          binding(`"app": "reviews"`).calls("bindings.validate"),
		"Binding, network":        binding(`"topology.istio.io/network": "n2"`).calls("bindings.validate"),
		"Namespace, finalized": {
			args:  "replace -f - --raw /api/v1/namespaces/" + plain + "/finalize?dryRun=All",
			stdin: `{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "` + plain + `", "labels": {"kubernetes.io/metadata.name": "` + plain + `"}}, "spec": {"finalizers": ["kubernetes"]}}`,
		},
		"Namespace, finalized with a label": attempt{
			args:  "replace -f - --raw /api/v1/namespaces/" + plain + "/finalize?dryRun=All",
			stdin: `{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "` + plain + `", "labels": {"a": "b"}}, "spec": {"finalizers": ["kubernetes"]}}`,
		}.calls("namespaces-status.validate"),
		"Service deleted":           {args: "delete service kubernetes -n default"},
		"Service deleted, strict":   attempt{args: "delete service kept -n " + plain}.calls("deleted-services.validate"),
		"Service deleted, loosened": attempt{args: "delete service loosened -n " + plain}.calls("deleted-services.validate"),
		"Service deleted, by the garbage collector": attempt{args: "delete service kept -n " + plain}.
			as("system:serviceaccount:kube-system:generic-garbage-collector"),
		"Pod of another cluster":   create(strict, "v1", "Pod", "a", `, annotations: {proxy.istio.io/config: "proxyMetadata: {ISTIO_META_CLUSTER_ID: m1c2}"}`+pod).calls("pods.validate"),
		"Namespace":                create("default", "v1", "Namespace", "shop", "}}"),
		"Namespace, fence":         create("default", "v1", "Namespace", "shop", ", labels: {meshfence.io/fence: strict}}}").calls("namespaces.validate"),
		"Namespace, enforcement":   create("default", "v1", "Namespace", "shop", ", labels: {meshfence.io/enforcement: warn}}}").calls("namespaces.validate"),
		"Namespace, other labels":  create("default", "v1", "Namespace", "shop", ", labels: {team: shop}}}"),
		"Namespace, label changed": attempt{args: "label namespace " + plain + " team=shop"}.calls("namespaces.validate"),
		"Namespace, annotated":     {args: "annotate namespace " + plain + " team=shop"},
		"Namespace, fence is gone": attempt{args: "label namespace " + strict + " meshfence.io/fence-"}.calls("namespaces.validate"),
		"Namespace, meshfence":     {args: "label namespace meshfence-system meshfence.io/fence=strict"},
		"FenceConfig":              create("meshfence-system", "v1", "ConfigMap", "meshfence", "}}").calls("config.validate"),
		"mesh ConfigMap":           create(plain, "v1", "ConfigMap", "istio", "}, data: {mesh: '{}'}}").calls("meshconfig.mutate", "meshconfig.validate"),
		"mesh ConfigMap deleted":   attempt{args: "delete configmap existing-mesh -n " + plain}.calls("deleted-meshes.validate"),
		"other ConfigMap deleted":  {args: "delete configmap existing-other -n " + plain},
		"other ConfigMap":          create("meshfence-system", "v1", "ConfigMap", "other", "}}"),
		"ConfigMap of that name":   create(plain, "v1", "ConfigMap", "meshfence", "}}").calls("meshconfig.validate"),
		"Pod":                      create(strict, "v1", "Pod", "a", pod),
		"Pod with another label":   create(strict, "v1", "Pod", "a", ", labels: {app: a}"+pod),
		"Pod of a network":         create(strict, "v1", "Pod", "a", ", labels: {topology.istio.io/network: n2}"+pod).calls("pods.validate"),
		"Pod of a locality":        create(strict, "v1", "Pod", "a", ", labels: {istio-locality: r.z.s}"+pod).calls("pods.validate"),
	}
	eventually(t, "the webhook configurations are in force", func(context.Context) error {
		err := attempts["DestinationRule v1"].run(t, cluster)
		if diff := cmp.Diff(attempts["DestinationRule v1"].want, r.take()); diff != "" {
			return errors.Join(err, errors.New(diff))
		}
		return err
	})
	for name, a := range attempts {
		t.Run(name, func(t *testing.T) {
			if err := a.run(t, cluster); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(a.want, r.take()); diff != "" {
				t.Errorf("entries called (-want +got):\n%s", diff)
			}
		})
	}
	r.Close()
	for name, a := range attempts {
		t.Run(name+", outage", func(t *testing.T) {
			err := a.run(t, cluster)
			if failed := err != nil; failed != a.failsClosed() {
				t.Errorf("refused is %t, want %t: %v", failed, a.failsClosed(), err)
			}
			if err != nil && !strings.Contains(err.Error(), "failed calling webhook") {
				t.Errorf("refused for another reason: %v", err)
			}
		})
	}
}
