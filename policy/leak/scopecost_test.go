package leak_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
	"github.com/meshfence/meshfence/policy/suite"
)

// What a look at each of so many Namespaces takes is well over the slack.
const (
	strangers  = 3000
	scopeSlack = 250 * time.Microsecond
)

// TestCostOfScope judges each object that passes in a small cluster and among thousands of strict Services in Namespaces of
// their own, and wants it to cost the same. A mesh ConfigMap is left out: it has an entry for each of them. The test is not
// parallel to others, which would count.
func TestCostOfScope(t *testing.T) {
	guard := leak.NewGuard(leak.Rules())
	for _, c := range load(t) {
		if c.Expect.Outcome != suite.Passes || c.Object.Kind == object.KindConfigMap {
			continue
		}
		t.Run(nameOf(c), func(t *testing.T) {
			small, large := scene(t, c), scene(t, c)
			for i := range strangers {
				host := hostname.Host{Namespace: fmt.Sprintf("stranger-%d", i), Name: "s"}
				large.SetNamespace(host.Namespace, nil)
				large.SetService(host, map[string]string{policy.FenceKey: policy.Strict.String()})
			}
			raw := mutate(t, c, small)
			var few, many time.Duration
			for range 5 { // others use the machine, too
				few, many = quickest(func() { judge(t, guard, small, c, raw) }), quickest(func() { judge(t, guard, large, c, raw) })
				if many <= 10*few+scopeSlack {
					return
				}
			}
			t.Errorf("%v with few Services, %v with %d more", few, many, strangers)
		})
	}
}

func scene(t *testing.T, c suite.Case) *policy.Index {
	t.Helper()
	index, err := c.Index()
	if err != nil {
		t.Fatal(err)
	}
	return index
}

// quickest returns what the quickest of three runs takes.
func quickest(f func()) time.Duration {
	best := time.Hour
	for range 3 {
		start := time.Now()
		f()
		best = min(best, time.Since(start))
	}
	return best
}
