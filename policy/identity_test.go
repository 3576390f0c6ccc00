package policy_test

import (
	"testing"

	"github.com/meshfence/meshfence/policy"
)

func TestMistakes(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		clusters, ids []string
		want          string
	}{
		"the same":               {clusters: []string{"m1c1"}, ids: []string{"m1c1"}},
		"one of several":         {clusters: []string{"m1c1", "m1c2"}, ids: []string{"m1c2"}},
		"one of several istiods": {clusters: []string{"m1c1"}, ids: []string{"m1c2", "m1c1"}},
		"none is known":          {clusters: []string{"m1c1"}},
		"another": {clusters: []string{"m1c1", "m1c2"}, ids: []string{"M1C1"},
			want: `controlPlane.clusters must list "M1C1", by which Istio knows this cluster, and lists "m1c1, m1c2": a fence would keep traffic out of this cluster instead of in it`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := (&policy.Config{Clusters: test.clusters}).Mistakes(test.ids); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
