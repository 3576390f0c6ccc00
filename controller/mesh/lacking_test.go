package mesh_test

import (
	"testing"

	"github.com/meshfence/meshfence/controller/mesh"
)

// TestLacking: a route waits for as long as one of the rules for its host lacks the subset.
func TestLacking(t *testing.T) {
	t.Parallel()
	has := map[string]bool{"reviews": true, "reviews-meshfence": true, "older": true}
	for name, test := range map[string]struct {
		rules []string
		want  string
	}{
		"no rule":                 {},
		"companion":               {rules: []string{"reviews-meshfence"}},
		"companion not made yet":  {rules: []string{"ratings-meshfence"}, want: "ratings-meshfence"},
		"user's rule":             {rules: []string{"reviews"}},
		"user's rule lacks it":    {rules: []string{"plain"}, want: "plain"},
		"one of two lacks it":     {rules: []string{"older", "plain"}, want: "plain"},
		"the older of two lacks":  {rules: []string{"plain", "older"}, want: "plain"},
		"both of a user's two do": {rules: []string{"older", "reviews"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var rules []mesh.Rule
			for _, name := range test.rules {
				rules = append(rules, mesh.Rule{Name: name, Reserved: has[name]})
			}
			if got := mesh.Lacking(rules); got != test.want {
				t.Errorf("waits for %q, want %q", got, test.want)
			}
		})
	}
}
