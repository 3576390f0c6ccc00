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
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"github.com/meshfence/meshfence/cluster"
	"github.com/meshfence/meshfence/test/testbed"
	"github.com/meshfence/meshfence/xds"
)

// patience is how long a change may take to reach istiod's clients on a busy machine, attempt how long one answer of
// istiod's may, and notice how long a guard may take to hear of an object.
const (
	patience = time.Minute
	attempt  = 10 * time.Second
	notice   = 5 * time.Second
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
	warnings *cluster.Warnings
	markers  int
}

// ground is what exists in every scene, in both clusters.
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
		bed: b, row: r, namespace: fmt.Sprintf("%s-%d", strings.ToLower(r.ID), n),
		clients: map[*testbed.Cluster]dynamic.Interface{}, warnings: &cluster.Warnings{},
	}
	first, second := b.Clusters[0], b.Clusters[1]
	pods := map[*testbed.Cluster]netip.Addr{first: first.Host(2<<8 + n), second: second.Host(2<<8 + n)}
	s.words = map[string]string{
		"NAMESPACE": s.namespace, "CALLERS": s.namespace + "-callers", "HOST": s.host(), "POD": pods[first].String(),
		"FOREIGN_POD": pods[second].String(), "FOREIGN_ADDRESS": second.Host(8<<8 + n).String(),
	}
	for _, c := range b.Clusters {
		config := c.Config()
		config.WarningHandlerWithContext = s.warnings
		var err error
		if s.clients[c], err = dynamic.NewForConfig(config); err != nil {
			t.Fatal(err)
		}
	}
	s.stand(t, nil)
	for _, c := range b.Clusters {
		// An east-west gateway passes on to Pods with a sidecar alone.
		labels := map[string]string{"app": "reviews", "security.istio.io/tlsMode": "istio"}
		if err := c.CreatePod(t.Context(), s.namespace, "reviews", pods[c], labels); err != nil {
			t.Fatal(err)
		}
	}
	s.put(t, s.expand(t, r.Before), false)
	s.proxy = proxy(s.text(r.As), s.text(r.From), s.namespace)
	s.proxy.Network = r.Network
	if r.Labels != nil {
		s.proxy.Labels = map[string]string{}
	}
	for key, value := range r.Labels {
		s.proxy.Labels[key] = s.text(value)
	}
	s.expect(t, "before", s.host(), xds.Held)
	return s
}

// stand makes what is in every scene, or makes it what it was. A Namespace of the objects given is theirs to put back:
// without its labels it may not exist for a moment.
func (s *scene) stand(t *testing.T, before []*unstructured.Unstructured) {
	t.Helper()
	for _, c := range s.Clusters {
		for _, o := range s.ground(t) {
			if c == s.Clusters[0] && o.GetKind() == "Namespace" && slices.ContainsFunc(before, func(b *unstructured.Unstructured) bool { return identity(b) == identity(o) }) {
				continue
			}
			resource, err := s.resource(c, o)
			if err != nil {
				t.Fatal(err)
			}
			stored, err := apply(t.Context(), resource, o, nil)
			if err != nil {
				t.Fatal(err)
			}
			if c == s.Clusters[0] && o.GetKind() == "Service" {
				s.words["CLUSTER_IP"], _, _ = unstructured.NestedString(stored.Object, "spec", "clusterIP")
			}
		}
	}
}

// ground returns what exists in every scene, in both clusters.
func (s *scene) ground(t *testing.T) []*unstructured.Unstructured {
	t.Helper()
	var objects []manifest
	if err := yaml.UnmarshalStrict([]byte(ground), &objects); err != nil {
		t.Fatal(err)
	}
	return s.expand(t, objects)
}

// text returns a text with what its words stand for.
func (s *scene) text(text string) string {
	return os.Expand(text, func(word string) string { return s.words[word] })
}

func (s *scene) host() string { return "reviews." + s.namespace + ".svc.cluster.local" }

func (s *scene) expand(t *testing.T, objects []manifest) []*unstructured.Unstructured {
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

// expect waits for one of some results of verify on a host.
func (s *scene) expect(t *testing.T, step, host string, want ...xds.Result) {
	t.Helper()
	var report xds.Report
	err := testbed.Eventually(t.Context(), patience, func(ctx context.Context) error {
		now, err := s.verify(ctx, host)
		if err != nil {
			return fmt.Errorf("%w, after %s", err, indent(report))
		}
		report = now
		if !slices.Contains(want, report.Result) {
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

// claim has the client say that it is in the cluster that the case claims.
func (s *scene) claim() { s.proxy.Cluster = cmp.Or(s.Claims, s.proxy.Cluster) }

// leaked is the host that is asked for once the objects that leak exist.
func (s *scene) leaked() string { return cmp.Or(s.text(s.Alias), s.host()) }

func indent(value any) string {
	encoded, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err.Error()
	}
	return string(encoded)
}

// take returns the warnings of meshfence since the last time, which end with the id of a rule.
func (s *scene) take() []string {
	return slices.DeleteFunc(s.warnings.Take(), func(text string) bool { return !strings.HasSuffix(text, "]") })
}
