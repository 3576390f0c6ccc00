package leak_test

import (
	"slices"
	"testing"

	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// TestRelated finds an EnvoyFilter that is for every workload by a Service of any namespace.
func TestRelated(t *testing.T) {
	t.Parallel()
	index := newIndex(t, "meshConfig")
	for _, namespace := range []string{"istio-system", "shop", "app"} {
		index.SetObject(&object.Object{Kind: object.KindEnvoyFilter, Metadata: object.Metadata{Namespace: namespace, Name: "it"}})
	}
	var found []string
	for _, o := range index.View().Related(hostname.Host{Namespace: "shop", Name: "reviews"}) {
		found = append(found, o.Metadata.Namespace)
	}
	if want := []string{"istio-system", "shop"}; !slices.Equal(found, want) {
		t.Errorf("namespaces of related EnvoyFilters: %q, want %q", found, want)
	}
}
