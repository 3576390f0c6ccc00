package webhook_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/admit"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
	"github.com/meshfence/meshfence/webhook"
)

// today is when the tests happen.
var today = time.Date(2026, time.July, 1, 12, 0, 0, 0, time.UTC)

const install = "meshfence-system"

// fenced fences namespace shop, where a Service reviews is; default/web is not fenced.
const fenced = `
apiVersion: config.meshfence.io/v1alpha1
kind: FenceConfig
controlPlane: {clusters: [m1c1]}
holds: [subset]
scope: {namespaces: [{name: shop, fence: strict}]}
`

// server is an admission server in front of an index and of an API server that holds what the index lacks.
type server struct {
	*httptest.Server
	index    *policy.Index
	registry *prometheus.Registry
	reader   *reader
	synced   bool
}

// serve starts admission with a config. The caller may change what is in the cluster before it asks.
func serve(t *testing.T, config string) *server {
	t.Helper()
	return serveWithin(t, config, 0)
}

// serveWithin is serve with so much room for bodies.
func serveWithin(t *testing.T, config string, bytesInFlight int64) *server {
	t.Helper()
	parsed, err := policy.ParseConfig(policy.ConfigMapSource(install, leak.IDs(leak.Rules())), []byte(config))
	if err != nil {
		t.Fatal(err)
	}
	index := policy.NewIndex(parsed)
	for host, fence := range map[hostname.Host]map[string]string{
		{Namespace: "shop", Name: "reviews"}:  nil,
		{Namespace: "shop", Name: "ratings"}:  nil,
		{Namespace: "default", Name: "web"}:   nil,
		{Namespace: "default", Name: "cache"}: {policy.FenceKey: "strict"},
	} {
		index.SetNamespace(host.Namespace, map[string]string{"kubernetes.io/metadata.name": host.Namespace})
		index.SetService(host, fence)
	}
	return serveIndex(t, index, bytesInFlight)
}

// serveIndex starts admission with an index.
func serveIndex(t *testing.T, index *policy.Index, bytesInFlight int64) *server {
	t.Helper()
	c := &server{index: index, registry: prometheus.NewRegistry(), reader: &reader{}, synced: true}
	metrics, err := webhook.NewMetrics(c.registry)
	if err != nil {
		t.Fatal(err)
	}
	a, err := webhook.New(webhook.Options{
		Index: c.index, Rules: leak.Rules(), InstallNamespace: install, Metrics: metrics, Reader: c.reader,
		Now:           func() time.Time { return today },
		Synced:        func() bool { return c.synced },
		BytesInFlight: bytesInFlight,
	})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle(admit.MutatePath, a.Mutator())
	mux.Handle(admit.ValidatePath, a.Validator())
	c.Server = httptest.NewServer(mux)
	t.Cleanup(c.Close)
	return c
}

// reader is an API server that holds a few Services and Namespaces.
type reader struct {
	client.Reader

	objects []metav1.PartialObjectMetadata
	stored  []unstructured.Unstructured
	istiods []corev1.Pod
	err     error
	panics  bool

	mu  sync.Mutex
	got []string
}

func (r *reader) Get(_ context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	kind := into.GetObjectKind().GroupVersionKind().Kind
	r.got = append(r.got, kind+" "+key.String())
	if r.panics {
		panic("the reader broke")
	}
	if r.err != nil {
		return r.err
	}
	for _, o := range r.objects {
		if o.Kind == kind && o.Namespace == key.Namespace && o.Name == key.Name {
			o.DeepCopyInto(into.(*metav1.PartialObjectMetadata))
			return nil
		}
	}
	for _, o := range r.stored {
		if o.GetKind() == kind && o.GetNamespace() == key.Namespace && o.GetName() == key.Name {
			o.DeepCopyInto(into.(*unstructured.Unstructured))
			return nil
		}
	}
	return apierrors.NewNotFound(corev1.Resource(strings.ToLower(kind)), key.Name)
}

// List has the Pods of one namespace that have some labels.
func (r *reader) List(_ context.Context, into client.ObjectList, options ...client.ListOption) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	o := (&client.ListOptions{}).ApplyOptions(options)
	if pods, ok := into.(*corev1.PodList); ok {
		if o.LabelSelector.Matches(labels.Set{"app": "istiod"}) {
			pods.Items = r.istiods
		}
		return r.err
	}
	r.got = append(r.got, "PodList "+o.Namespace+" "+o.LabelSelector.String())
	if r.err != nil {
		return r.err
	}
	list := into.(*metav1.PartialObjectMetadataList)
	for _, pod := range r.objects {
		if pod.Kind != object.KindPod || o.Namespace != "" && o.Namespace != pod.Namespace || !o.LabelSelector.Matches(labels.Set(pod.Labels)) {
			continue
		}
		if o.FieldSelector == nil || o.FieldSelector.Matches(fields.Set{"status.podIP": r.address(pod)}) {
			list.Items = append(list.Items, pod)
		}
	}
	return nil
}

// address returns that of a Pod; empty where only its metadata are known.
func (r *reader) address(pod metav1.PartialObjectMetadata) string {
	for _, o := range r.stored {
		if o.GetKind() == object.KindPod && o.GetNamespace() == pod.Namespace && o.GetName() == pod.Name {
			address, _, _ := unstructured.NestedString(o.Object, "status", "podIP")
			return address
		}
	}
	return ""
}

func (r *reader) asked() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(slices.Values(r.got))
}

// toJSON turns an object in YAML into JSON; empty stays empty.
func toJSON(t *testing.T, object string) []byte {
	t.Helper()
	if object == "" {
		return nil
	}
	data, err := yaml.YAMLToJSON([]byte(object))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// request returns the admission request for an object in YAML, an update where there is an old one.
func request(t *testing.T, obj, old string) *admissionv1.AdmissionRequest {
	t.Helper()
	var meta metav1.PartialObjectMetadata
	if err := yaml.Unmarshal([]byte(obj), &meta); err != nil {
		t.Fatal(err)
	}
	kind := meta.GroupVersionKind()
	route, ok := admit.KindFor(kind.Group, kind.Kind)
	if !ok {
		t.Fatalf("no route for %s", kind)
	}
	r := &admissionv1.AdmissionRequest{
		UID:       "5f1d2f3c-0000-4000-8000-000000000001",
		Kind:      metav1.GroupVersionKind(kind),
		Resource:  metav1.GroupVersionResource{Group: kind.Group, Version: kind.Version, Resource: route.Resource},
		Name:      meta.Name,
		Namespace: meta.Namespace,
		Operation: admissionv1.Create,
		Object:    runtime.RawExtension{Raw: toJSON(t, obj)},
		OldObject: runtime.RawExtension{Raw: toJSON(t, old)},
	}
	if kind.Kind == object.KindNamespace {
		r.Namespace = meta.Name
	}
	if old != "" {
		r.Operation = admissionv1.Update
	}
	return r
}

// ask sends a review and returns the response, which must answer it.
func (c *server) ask(t *testing.T, path string, r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
	t.Helper()
	body, err := json.Marshal(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
		Request:  r,
	})
	if err != nil {
		t.Fatal(err)
	}
	response := c.post(t, path, "application/json", body)
	if response.UID != r.UID {
		t.Errorf("uid = %q, want %q", response.UID, r.UID)
	}
	return response
}

func (c *server) post(t *testing.T, path, contentType string, body []byte) *admissionv1.AdmissionResponse {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.URL+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	res, err := c.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK {
		t.Fatalf("HTTP status %d: %s", res.StatusCode, data)
	}
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(data, &review); err != nil {
		t.Fatalf("decode %s: %v", data, err)
	}
	if review.Response == nil {
		t.Fatalf("no response in %s", data)
	}
	return review.Response
}
