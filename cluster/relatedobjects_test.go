package cluster_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	fcache "k8s.io/client-go/tools/cache/testing"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/meshfence/meshfence/cluster"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/admit"
	"github.com/meshfence/meshfence/policy/object"
)

// patchyMapper has every kind but one, which the API server lacks, and cannot tell of any while it is away.
type patchyMapper struct {
	meta.RESTMapper

	lacks string
	away  atomic.Bool
}

func (m *patchyMapper) RESTMapping(gk schema.GroupKind, versions ...string) (*meta.RESTMapping, error) {
	switch {
	case m.away.Load():
		return nil, errors.New("failed to get API group resources")
	case gk.Kind == m.lacks:
		return nil, &meta.NoKindMatchError{GroupKind: gk, SearchedVersions: versions}
	}
	return &meta.RESTMapping{GroupVersionKind: gk.WithVersion(versions[0])}, nil
}

// An API server that cannot tell its kinds for a while ends nothing, also where a kind is missing for good.
func TestLookForKinds(t *testing.T) {
	t.Parallel()
	for name, away := range map[string]bool{"before the first look": true, "after it": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				mapper := &patchyMapper{lacks: object.KindServiceExport}
				mapper.away.Store(away)
				kinds := &informers{sources: map[string]*fcache.FakeControllerSource{}}
				ctx, cancel := context.WithCancel(t.Context())
				var first, last error
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					first, last = cluster.LookForKinds(ctx, kinds, mapper)
				}()
				synctest.Wait()
				mapper.away.Store(true)
				time.Sleep(time.Minute)
				mapper.away.Store(false)
				time.Sleep(time.Minute)
				select {
				case <-ended:
					t.Errorf("it ended with %v while a kind is missing", last)
				default:
				}
				cancel()
				<-ended
				if (first != nil) != away || last != nil {
					t.Errorf("errors %v and %v", first, last)
				}
				want := 0
				for _, r := range admit.Kinds() {
					if r.Stored && r.Kind != mapper.lacks {
						want++
					}
				}
				if len(kinds.started) != want {
					t.Errorf("%d kinds are watched, want %d", len(kinds.started), want)
				}
			})
		})
	}
}

// What kubectl has applied says all of an object again, and is not kept.
func TestStoredObjectsAreTrimmed(t *testing.T) {
	t.Parallel()
	rule := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "networking.istio.io/v1", "kind": object.KindDestinationRule,
		"metadata": map[string]any{"namespace": "shop", "name": "cart", "annotations": map[string]any{
			corev1.LastAppliedConfigAnnotation: "{}", "other": "stays",
		}},
		"spec": map[string]any{"host": "cart"},
	}}
	index := policy.NewIndex(&policy.Config{ClusterDomain: "cluster.local"})
	// The fake client adds the kinds of unstructured objects to its scheme.
	reader := fake.NewClientBuilder().WithScheme(runtime.NewScheme()).WithRuntimeObjects(rule).Build()
	if err := cluster.ReadObjects(t.Context(), reader, &patchyMapper{}, index); err != nil {
		t.Fatal(err)
	}
	kept, ok := index.View().Object(object.Key{Kind: object.KindDestinationRule, Namespace: "shop", Name: "cart"})
	if !ok {
		t.Fatal("the rule is not stored")
	}
	if diff := cmp.Diff(map[string]string{"other": "stays"}, kept.Metadata.Annotations); diff != "" {
		t.Errorf("annotations (-want +got):\n%s", diff)
	}
}
