package leak_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
)

// entryFor returns a ServiceEntry for n hosts of a namespace, followed by others.
func entryFor(n int, namespace string, others ...string) *object.Object {
	o := &object.Object{
		Kind: object.KindServiceEntry, Metadata: object.Metadata{Namespace: "app", Name: "it"}, ServiceEntry: &object.ServiceEntry{},
	}
	for i := range n {
		o.ServiceEntry.Hosts = append(o.ServiceEntry.Hosts, fmt.Sprintf("s%d.%s.svc.cluster.local", i, namespace))
	}
	o.ServiceEntry.Hosts = append(o.ServiceEntry.Hosts, others...)
	return o
}

// TestFindingsAreCapped: those that are alike are counted after the first few, and none that is dealt with in another
// way hides behind them.
func TestFindingsAreCapped(t *testing.T) {
	t.Parallel()
	index := indexWith(t, policy.HoldsOf(policy.MeshConfig),
		"{default: strict, services: [{namespace: bank, name: safe, fence: strict, locked: true}]}")
	index.SetNamespace("soft", map[string]string{policy.EnforcementLabel: "audit"})
	guard := leak.NewGuard(leak.Rules())
	entry := entryFor(5000, "soft", "safe.bank.svc.cluster.local", "plain.shop.svc.cluster.local")
	view := index.View()
	findings := guard.Judge(leak.Write{Object: entry}, view)
	if len(findings) > 20 {
		t.Errorf("%d findings", len(findings))
	}
	verdict := leak.Sort(findings, view, time.Now())
	if len(verdict.Audited) != 10 || verdict.Audited[9].More != 4990 || !strings.Contains(verdict.Audited[9].Message(), "; and 4,990 more [serviceentry-fenced-host]") {
		t.Errorf("%d are audited, the last is %+v", len(verdict.Audited), verdict.Audited[len(verdict.Audited)-1])
	}
	var denied []string
	for _, f := range verdict.Denied {
		denied = append(denied, f.Host.Host)
	}
	if want := []string{"safe.bank.svc.cluster.local", "plain.shop.svc.cluster.local"}; !slices.Equal(denied, want) {
		t.Errorf("denied are %q, want %q", denied, want)
	}
}

// TestCappedUpdate: what was there before is told from what comes in whatever their number.
func TestCappedUpdate(t *testing.T) {
	t.Parallel()
	index := indexWith(t, policy.HoldsOf(policy.MeshConfig), "{default: strict}")
	guard := leak.NewGuard(leak.Rules())
	for name, test := range map[string]struct {
		now  *object.Object
		want []string
	}{
		"untouched":     {now: entryFor(5000, "shop")},
		"one less":      {now: entryFor(4999, "shop")},
		"one more":      {now: entryFor(5001, "shop"), want: []string{"s5000.shop.svc.cluster.local"}},
		"one elsewhere": {now: entryFor(5000, "shop", "s0.till.svc.cluster.local"), want: []string{"s0.till.svc.cluster.local"}},
	} {
		var got []string
		for _, f := range guard.Judge(leak.Write{Object: test.now, Old: leak.Known(entryFor(5000, "shop"))}, index.View()) {
			got = append(got, f.Host.Host)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: introduced are %q, want %q", name, got, test.want)
		}
	}
}
