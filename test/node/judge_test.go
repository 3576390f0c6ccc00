package node_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestJudge(t *testing.T) {
	t.Parallel()
	refused := apierrors.NewInvalid(schema.GroupKind{Kind: "VirtualService"}, "leak", nil)
	silence := apierrors.NewInternalError(errors.New(`failed calling webhook "istio.meshfence.io": connection refused`))
	type verdict struct{ Loud, Silent bool } // whether it is complained of
	tests := map[string]struct {
		ordinary, leak error
		want           verdict
	}{
		"a leak that passes":                  {want: verdict{true, true}},
		"an ordinary write that is refused":   {ordinary: refused, leak: refused, want: verdict{true, true}},
		"an ordinary write without an answer": {ordinary: silence, leak: refused, want: verdict{true, false}},
		"a leak without an answer":            {leak: silence, want: verdict{true, false}},
		"a leak that fails for another cause": {leak: errors.New("connection reset"), want: verdict{true, true}},
		"both as they should be":              {leak: refused},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := written{passed: 1, refused: 1}
			w.ordinary(test.ordinary)
			w.leak(test.leak)
			got := verdict{w.judge(false) != nil, w.judge(true) != nil}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("complains (-want +got):\n%s", diff)
			}
		})
	}
}
