package admit_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/meshfence/meshfence/policy/admit"
	"github.com/meshfence/meshfence/policy/object"
)

func TestKinds(t *testing.T) {
	t.Parallel()
	for _, want := range admit.Kinds() {
		got, ok := admit.KindFor(want.Group, object.APIKind(want.Kind))
		if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(object.Type{})); !ok || diff != "" {
			t.Errorf("KindFor(%q, %q) (-want +got):\n%s", want.Group, want.Kind, diff)
		}
		if _, err := labels.Parse(want.StoredBy); err != nil || want.StoredBy != "" && !want.Stored {
			t.Errorf("%s is stored by %q: %v", want.Kind, want.StoredBy, err)
		}
		if !want.Mutate && !want.Validate && !want.Stored {
			t.Errorf("%s is on no path, and is not stored", want.Kind)
		}
	}
	if got, ok := admit.KindFor("apps", object.KindService); ok {
		t.Errorf("KindFor gives %+v for another group", got)
	}
	admit.Kinds()[0].Versions[0] = "v0"
	if admit.Kinds()[0].Versions[0] == "v0" {
		t.Error("callers share the table")
	}
}
