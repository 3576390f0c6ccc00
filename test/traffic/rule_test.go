package traffic_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/test/testbed"
)

// rulesDeleted is how often a user's rule goes and comes back.
func rulesDeleted() int {
	if *full {
		return 10
	}
	return 3
}

// ruleDeleted deletes a user's DestinationRule of a strict host under load, again and again. The API server is
// without a rule of the host until the companion exists; istiod gathers changes for longer than that
// (PILOT_DEBOUNCE_AFTER), so that no call leaves the cluster and none fails.
func ruleDeleted(t *testing.T, w *world) {
	for _, h := range []holds{{"locality"}, {"subset"}} {
		t.Run(h.String(), func(t *testing.T) {
			w.configure(t, h, "none")
			s := w.newShop(t, "reviews")
			first := w.Clusters[0]
			rule := "{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: mine}, spec: {host: reviews, " +
				"trafficPolicy: {connectionPool: {tcp: {connectTimeout: 1500ms}}}}}"
			apply(t, first, s.namespace, rule)
			w.kubectl(t, "annotate", "service", "reviews", "-n", s.namespace, "meshfence.io/fence=strict")
			s.atHome(t, policy.Strict)
			l := s.load(t, "reviews")
			for range rulesDeleted() {
				if _, _, err := first.Kubectl(t.Context(), "", "delete", "destinationrule", "mine", "-n", s.namespace, "--wait=false"); err != nil {
					t.Fatal(err)
				}
				gone := time.Now()
				s.companion(t, first, true)
				t.Logf("the companion was seen %s after the deletion was answered", time.Since(gone).Round(time.Millisecond))
				time.Sleep(500 * time.Millisecond) // a push that is under way may end
				apply(t, first, s.namespace, rule)
				s.companion(t, first, false)
			}
			for c, records := range l {
				if counts := records.Records().Sources(); counts[c.Name] == 0 || len(counts) != 1 {
					t.Errorf("calls from %s went to %v", c.Name, counts)
				}
			}
			l.stop(t)
		})
	}
}

// companion waits until the companion rule of reviews is there, or is gone.
func (s *shop) companion(t *testing.T, c *testbed.Cluster, wanted bool) {
	t.Helper()
	err := testbed.Eventually(t.Context(), 10*time.Second, func(ctx context.Context) error {
		_, stderr, err := c.Kubectl(ctx, "", "get", "destinationrule", "reviews-meshfence", "-n", s.namespace)
		switch {
		case err != nil && !strings.Contains(stderr+err.Error(), "not found"):
			return err
		case (err == nil) != wanted:
			return fmt.Errorf("the companion stands: %t", err == nil)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
