package conformance_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/test/testbed"
)

// revision is the label of objects that another istiod reads.
const revision = "istio.io/rev"

// settle returns when whatever istiod sends from now on takes the objects into account. First it has them in its
// stores; then a Service that is made after that reaches a client, because a push reads all stores. Meshfence has
// removed by then what the objects take the place of.
func (s *scene) settle(t *testing.T, stored []*unstructured.Unstructured) {
	t.Helper()
	err := testbed.Eventually(t.Context(), patience, func(ctx context.Context) error {
		for _, o := range stored {
			if err := s.read(ctx, o); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatalf("istiod reads the objects: %v", err)
	}
	if err := testbed.Eventually(t.Context(), patience, func(ctx context.Context) error { return s.replaced(ctx, stored) }); err != nil {
		t.Fatalf("companions: %v", err)
	}
	s.mark(t)
}

// mark makes a Service that nothing fences and waits until istiod sends it to the gateways.
func (s *scene) mark(t *testing.T) {
	t.Helper()
	s.markers++
	marker := fmt.Sprintf("marker-%d", s.markers)
	objects := s.expand(t, []manifest{{
		"apiVersion": "v1", "kind": "Service",
		"metadata": map[string]any{"name": marker, "annotations": map[string]any{policy.FenceKey: "none"}},
		"spec":     map[string]any{"ports": []any{map[string]any{"name": "http", "port": 80}}},
	}})
	if done := s.apply(t.Context(), objects); done.err != nil {
		t.Fatal(done.err)
	}
	cluster := fmt.Sprintf("outbound|80||%s.%s.svc.cluster.local", marker, s.namespace)
	err := testbed.Eventually(t.Context(), patience, func(ctx context.Context) error {
		snapshot, err := s.fetch(ctx, proxy("marked", "", ""))
		if err != nil {
			return err
		}
		if snapshot.Clusters[cluster] == nil {
			return fmt.Errorf("%s is not there", cluster)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("istiod pushes: %v", err)
	}
}

// read says what of an object istiod has not read. A Service needs no look: its marker comes the same way.
func (s *scene) read(ctx context.Context, o *unstructured.Unstructured) error {
	switch {
	case s.cluster(o) == s.Clusters[0] && strings.HasPrefix(o.GetAPIVersion(), "networking.istio.io/"):
		return s.readConfig(ctx, o)
	case s.cluster(o) != s.Clusters[0] || o.GetKind() == "Pod" || o.GetKind() == "EndpointSlice":
		return s.readEndpoints(ctx, o)
	}
	return nil
}

// readConfig looks for an object of Istio's, not older than this, in the stores; one for another revision must not be
// there.
func (s *scene) readConfig(ctx context.Context, o *unstructured.Unstructured) error {
	answer, err := s.Debug(ctx, s.Clusters[0], "configz")
	if err != nil {
		return err
	}
	var configs []metav1.PartialObjectMetadata
	if err := json.Unmarshal(answer, &configs); err != nil {
		return fmt.Errorf("decode configz: %w", err)
	}
	found := slices.ContainsFunc(configs, func(c metav1.PartialObjectMetadata) bool {
		return c.Kind == o.GetKind() && c.Name == o.GetName() && c.Namespace == o.GetNamespace() &&
			(o.GetLabels()[revision] != "" || version(c.ResourceVersion) >= version(o.GetResourceVersion()))
	})
	if found == (o.GetLabels()[revision] != "") {
		return fmt.Errorf("%s %s: found: %t", o.GetKind(), o.GetName(), found)
	}
	return nil
}

func version(text string) int {
	n, _ := strconv.Atoi(text) // what is no number is older than any
	return n
}

// readEndpoints looks for every address of an object among the endpoints.
func (s *scene) readEndpoints(ctx context.Context, o *unstructured.Unstructured) error {
	answer, err := s.Debug(ctx, s.Clusters[0], "endpointShardz")
	if err != nil {
		return err
	}
	for _, address := range []string{"POD", "FOREIGN_POD", "FOREIGN_ADDRESS"} {
		encoded, err := o.MarshalJSON()
		if err != nil {
			return err
		}
		quoted := []byte(strconv.Quote(s.words[address]))
		if bytes.Contains(encoded, quoted) && !bytes.Contains(answer, quoted) {
			return fmt.Errorf("%s of %s %s is not there", address, o.GetKind(), o.GetName())
		}
	}
	return nil
}

// replaced says which companion is still in the way of a user's object of its kind for the host: a DestinationRule takes its
// place, and a VirtualService takes that of the sections which it has itself.
func (s *scene) replaced(ctx context.Context, stored []*unstructured.Unstructured) error {
	for _, o := range stored {
		hosts, _, _ := unstructured.NestedStringSlice(o.Object, "spec", "hosts")
		host, _, _ := unstructured.NestedString(o.Object, "spec", "host")
		for _, named := range append(hosts, host) {
			if o.GetNamespace() != s.namespace || named != "reviews" && named != s.host() {
				continue
			}
			resource, err := s.resource(s.Clusters[0], o)
			if err != nil {
				return err
			}
			companion, err := resource.Get(ctx, inject.CompanionName("reviews"), metav1.GetOptions{})
			switch {
			case apierrors.IsNotFound(err):
			case err != nil:
				return err
			case o.GetKind() != "VirtualService" || shareRoutes(companion, o):
				return fmt.Errorf("the companion is still beside %s %s", o.GetKind(), o.GetName())
			}
		}
	}
	return nil
}

// shareRoutes reports whether two VirtualServices have routes of the same protocol.
func shareRoutes(a, b *unstructured.Unstructured) bool {
	return slices.ContainsFunc([]string{"http", "tls", "tcp"}, func(section string) bool {
		inA, _, _ := unstructured.NestedSlice(a.Object, "spec", section)
		inB, _, _ := unstructured.NestedSlice(b.Object, "spec", section)
		return len(inA) > 0 && len(inB) > 0
	})
}
