package audit_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/controller/audit"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/test/fakecluster"
)

// TestOutage: of what leaks, that is told of as such which was written while no replica ran.
func TestOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := fakecluster.New(t, strictConfig, shop)
		put := func(name string) {
			t.Helper()
			c.Put(t, strings.NewReplacer("name: reviews", "name: "+name, "strict", "tight").Replace(reviews)) // no fence is called so
			time.Sleep(time.Minute)
		}
		put("before")
		from := time.Now()
		put("meanwhile")
		outage := audit.Outage{From: from, To: time.Now()}
		time.Sleep(time.Minute)
		run(t, audit.New(audit.Options{
			Auditor: audit.Auditor{Index: c.Index, Guard: leak.NewGuard(leak.Rules()), Reader: c.Client, Now: time.Now},
			Mapper:  c.Client.RESTMapper(), Recorder: c.Recorder, Metrics: c.Metrics, Resync: time.Hour, Outage: outage,
		}).Run)
		put("afterwards")
		var told []string // by name
		for len(c.Recorder.Events) > 0 {
			text := <-c.Recorder.Events
			if note, ok := strings.CutPrefix(text, "Warning Leak "); ok {
				note, _, _ = strings.Cut(note, "metadata.")
				told = append(told, note)
			}
		}
		at := from.UTC().Format(time.RFC3339)
		want := []string{"", "", fmt.Sprintf("written at %s, while no replica of meshfence ran, between %s and %s: ", at, at, outage.To.UTC().Format(time.RFC3339))}
		if diff := cmp.Diff(want, told); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}
