package conformance_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"github.com/meshfence/meshfence/test/testbed"
	"github.com/meshfence/meshfence/xds"
)

// patience is how long a change may take to reach istiod's clients on a busy machine, and attempt how long one answer of
// istiod's may.
const (
	patience = 30 * time.Second
	attempt  = 10 * time.Second
)

// scene is a namespace in both clusters, with the strict Service reviews and a Pod of it in each, for one case.
type scene struct {
	*bed
	row
	namespace string
	proxy     xds.Proxy
	// words are what $NAME stands for in a case.
	words    map[string]string
	clients  map[*testbed.Cluster]dynamic.Interface
	warnings *warnings
	markers  int
}

// ground is what stands in every scene, in both clusters.
const ground = `
- {apiVersion: v1, kind: Namespace, metadata: {name: $NAMESPACE}}
- {apiVersion: v1, kind: Namespace, metadata: {name: $CALLERS}}
- apiVersion: v1
  kind: Service
  metadata: {name: reviews, annotations: {meshfence.io/fence: strict}}
  spec: {selector: {app: reviews}, ports: [{name: http, port: 9080}, {name: tcp, port: 9090}]}
`

// newScene sets the scene of a case and returns when the host is held.
func newScene(t *testing.T, b *bed, r row) *scene {
	t.Helper()
	n := int(b.scenes.Add(1))
	s := &scene{
		bed: b, row: r, namespace: fmt.Sprintf("%s-%d", strings.ToLower(r.name), n),
		clients: map[*testbed.Cluster]dynamic.Interface{}, warnings: &warnings{},
	}
	first, second := b.Clusters[0], b.Clusters[1]
	pods := map[*testbed.Cluster]netip.Addr{first: first.Host(2<<8 + n), second: second.Host(2<<8 + n)}
	s.words = map[string]string{
		"NAMESPACE": s.namespace, "CALLERS": s.namespace + "-callers", "HOST": s.host(), "POD": pods[first].String(),
		"FOREIGN_POD": pods[second].String(), "FOREIGN_ADDRESS": second.Host(3<<8 + n).String(),
	}
	for _, c := range b.Clusters {
		config := c.Config()
		config.WarningHandler = s.warnings
		var err error
		if s.clients[c], err = dynamic.NewForConfig(config); err != nil {
			t.Fatal(err)
		}
		s.found(t, c)
		// An east-west gateway passes on to Pods with a sidecar alone.
		labels := map[string]string{"app": "reviews", "security.istio.io/tlsMode": "istio"}
		if err := c.CreatePod(t.Context(), s.namespace, "reviews", pods[c], labels); err != nil {
			t.Fatal(err)
		}
	}
	s.proxy = proxy(r.As, cmp.Or(s.text(r.From), s.namespace))
	if r.Labels != nil {
		s.proxy.Labels = r.Labels
	}
	if done := s.apply(t.Context(), s.expand(t, r.Before)); done.err != nil {
		t.Fatalf("before: %v", done.err)
	}
	s.expect(t, "before", s.host(), xds.Held)
	return s
}

// found makes what stands in every scene.
func (s *scene) found(t *testing.T, c *testbed.Cluster) {
	t.Helper()
	var objects []object
	if err := yaml.UnmarshalStrict([]byte(ground), &objects); err != nil {
		t.Fatal(err)
	}
	for _, o := range s.expand(t, objects) {
		stored, err := s.applyTo(t.Context(), c, o)
		if err != nil {
			t.Fatal(err)
		}
		if c == s.Clusters[0] && o.GetKind() == "Service" {
			s.words["CLUSTER_IP"], _, _ = unstructured.NestedString(stored.Object, "spec", "clusterIP")
		}
	}
}

// text returns a text with what its words stand for.
func (s *scene) text(text string) string {
	return os.Expand(text, func(word string) string { return s.words[word] })
}

func (s *scene) host() string { return "reviews." + s.namespace + ".svc.cluster.local" }

func (s *scene) expand(t *testing.T, objects []object) []*unstructured.Unstructured {
	t.Helper()
	expanded, err := expand(objects, s.namespace, func(word string) (string, bool) {
		value, ok := s.words[word]
		return value, ok
	})
	if err != nil {
		t.Fatal(err)
	}
	return expanded
}

// resource returns where objects like this one are.
func (s *scene) resource(c *testbed.Cluster, o *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	gvk := o.GroupVersionKind()
	mapping, err := s.mappers[c].RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return nil, err
	}
	if mapping.Scope.Name() == meta.RESTScopeNameRoot {
		return s.clients[c].Resource(mapping.Resource), nil
	}
	return s.clients[c].Resource(mapping.Resource).Namespace(o.GetNamespace()), nil
}

// change is what became of objects that were applied.
type change struct {
	// stored are the objects that were accepted, as they are stored.
	stored []*unstructured.Unstructured
	// mended says that one of them is not stored as it was sent.
	mended bool
	// warnings are those of meshfence.
	warnings []string
	// err is the refusal that ended it.
	err error
}

// apply applies objects one after the other, up to the first that is refused.
func (s *scene) apply(ctx context.Context, objects []*unstructured.Unstructured) change {
	var done change
	s.warnings.take()
	for _, o := range objects {
		if o.GetAnnotations()[deleted] != "" {
			if done.err = s.remove(ctx, o); done.err != nil {
				break
			}
			continue
		}
		stored, err := s.applyTo(ctx, s.cluster(o), o)
		if err != nil {
			done.err = err
			break
		}
		done.stored = append(done.stored, stored)
		done.mended = done.mended || strings.HasPrefix(o.GetAPIVersion(), "networking.istio.io/") &&
			indent(o.Object["spec"]) != indent(stored.Object["spec"])
	}
	done.warnings = s.warnings.take()
	return done
}

// cluster returns where an object goes.
func (s *scene) cluster(o *unstructured.Unstructured) *testbed.Cluster {
	return s.Cluster(cmp.Or(o.GetAnnotations()[inCluster], testbed.FirstCluster))
}

// applyTo does what kubectl apply --server-side does.
func (s *scene) applyTo(ctx context.Context, c *testbed.Cluster, o *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	resource, err := s.resource(c, o)
	if err != nil {
		return nil, err
	}
	options := metav1.ApplyOptions{FieldManager: "conformance", Force: true}
	stored, err := resource.Apply(ctx, o.GetName(), o, options)
	if err == nil && o.GetKind() == "Pod" && o.Object["status"] != nil {
		stored, err = resource.ApplyStatus(ctx, o.GetName(), o, options)
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", o.GetKind(), o.GetName(), err)
	}
	return stored, nil
}

// remove deletes an object, if it stands.
func (s *scene) remove(ctx context.Context, o *unstructured.Unstructured) error {
	resource, err := s.resource(s.cluster(o), o)
	if err != nil {
		return err
	}
	if err := resource.Delete(ctx, o.GetName(), metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete %s %s: %w", o.GetKind(), o.GetName(), err)
	}
	return nil
}

// expect waits for one of some results of verify on a host.
func (s *scene) expect(t *testing.T, step, host string, want ...xds.Result) {
	t.Helper()
	var report xds.Report
	err := testbed.Eventually(t.Context(), patience, func(ctx context.Context) error {
		now, err := s.verify(ctx, s.proxy, host)
		if err != nil {
			return fmt.Errorf("%w, after %s", err, indent(report))
		}
		report = now
		if s.noted(report) {
			report.Result = xds.Leaks
		}
		if !slices.Contains(want, report.Result) || !report.Known {
			return fmt.Errorf("want %v, got %s", want, indent(report))
		}
		return nil
	})
	if err != nil {
		t.Fatalf("%s: %v", step, err)
	}
}

// keeps waits until istiod has read objects, and then for a result that is no leak.
func (s *scene) keeps(t *testing.T, step, host string, stored []*unstructured.Unstructured) {
	t.Helper()
	s.settle(t, stored)
	s.expect(t, step, host, xds.Held, xds.Empty)
}

// leaked is the host that is asked for once the objects that leak stand.
func (s *scene) leaked() string { return cmp.Or(s.text(s.Alias), s.host()) }

// noted says that verify notes what the case is about.
func (s *scene) noted(report xds.Report) bool {
	return s.Note != "" && slices.ContainsFunc(report.Notes, func(note string) bool { return strings.Contains(note, s.Note) })
}

func indent(value any) string {
	encoded, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err.Error()
	}
	return string(encoded)
}

// warnings collects the warnings of meshfence, which end with the id of a rule.
type warnings struct {
	mu   sync.Mutex
	list []string
}

// HandleWarningHeader implements rest.WarningHandler.
func (w *warnings) HandleWarningHeader(_ int, _, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if strings.HasSuffix(text, "]") {
		w.list = append(w.list, text)
	}
}

// take returns what has come since the last time.
func (w *warnings) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := w.list
	w.list = nil
	return list
}
