package controller_test

import (
	"testing"

	"github.com/meshfence/meshfence/controller"
)

// TestLacksReserved: a route waits for as long as one of the rules that stand for its host lacks the subset.
func TestLacksReserved(t *testing.T) {
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
			if got := controller.LacksReserved(test.rules, has); got != test.want {
				t.Errorf("waits for %q, want %q", got, test.want)
			}
		})
	}
}
