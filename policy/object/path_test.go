package object_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/policy/object"
)

func TestPath(t *testing.T) {
	t.Parallel()
	want := []string{
		"metadata.labels[topology.istio.io/network]", "spec", "spec.hosts[2]", "spec.hosts[10]", "spec.subsets[0].labels[topology.istio.io/cluster]",
	}
	paths := []object.Path{
		{"spec", "subsets", "0", "labels", "topology.istio.io/cluster"}, {"spec", "hosts", "10"}, {"spec"},
		{"metadata", "labels", "topology.istio.io/network"}, {"spec", "hosts", "2"},
	}
	for range 20 {
		rand.Shuffle(len(paths), func(i, j int) { paths[i], paths[j] = paths[j], paths[i] })
		var got []string
		for _, p := range slices.SortedFunc(slices.Values(paths), object.Path.Compare) {
			got = append(got, p.String())
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("sorted (-want +got):\n%s", diff)
		}
	}
}
