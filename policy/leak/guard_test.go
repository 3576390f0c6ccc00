package leak_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
)

// someHolds are all sets of holds that a FenceConfig may have.
func someHolds() []policy.Holds {
	var sets []policy.Holds
	for set := policy.Holds(1); set <= policy.HoldsOf(policy.MeshConfig, policy.Locality, policy.Subset); set++ {
		sets = append(sets, set)
	}
	return sets
}

// indexWith returns an index of a Namespace shop without Services.
func indexWith(t testing.TB, holds policy.Holds, scope string) *policy.Index {
	t.Helper()
	text := fmt.Sprintf("apiVersion: config.meshfence.io/v1alpha1\nkind: FenceConfig\ncontrolPlane: {clusters: [m1c1]}\n"+
		"holds: [%s]\nlocalities: {m1c1: [r1/*]}\nscope: %s\n", holds, scope)
	if !holds.Has(policy.Locality) {
		text = strings.Replace(text, "localities: {m1c1: [r1/*]}\n", "", 1)
	}
	config, err := policy.ParseConfig(policy.Source{}, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	index := policy.NewIndex(config)
	index.SetNamespace("shop", nil)
	return index
}

// rulesFound lists the rules that the guard asks, by whether they find something.
func rulesFound(findings []leak.Finding) []string {
	var ids []string
	for _, f := range findings {
		ids = append(ids, f.Rule)
	}
	return ids
}

// closing returns, for each row, the active holds that keep in whatever a rule of the row could report. Subset
// keeps in what takes no subset only where it is alone.
func closing(active policy.Holds) map[string][]policy.Hold {
	rows := map[string][]policy.Hold{}
	for _, row := range leak.Catalogue() {
		for _, hold := range []policy.Hold{policy.MeshConfig, policy.Locality, policy.Subset} {
			counts := active.Has(hold) && (hold != policy.Subset || active.Only(policy.Subset))
			if counts && row.Stops.Has(hold) {
				rows[row.ID] = append(rows[row.ID], hold)
			}
		}
	}
	return rows
}

// TestStops: a rule is silent exactly when an active hold stops all of its rows, unless the hold that it guards is
// active, and of no rule there are rows that are stopped by different holds.
func TestStops(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	rules := leak.Rules()
	for i := range 200 { // rules to come
		var rows []string
		for _, id := range rowIDs() {
			if random.IntN(30) == 0 {
				rows = append(rows, id)
			}
		}
		rules = append(rules, leak.Rule{ID: fmt.Sprint("random-", i), Rows: rows})
	}
	silent, asked := 0, 0
	for _, active := range someHolds() {
		index, stopping := indexWith(t, active, "{default: strict}"), closing(active)
		for _, r := range rules {
			r.Kinds = []string{object.KindPod}
			guard := leak.NewGuard([]leak.Rule{r.Finding()})
			found := len(guard.Check(&object.Object{Kind: object.KindPod}, index.View())) > 0
			byOne := len(r.Rows) > 0 && slices.ContainsFunc([]policy.Hold{policy.MeshConfig, policy.Locality, policy.Subset}, func(h policy.Hold) bool {
				return !slices.ContainsFunc(r.Rows, func(row string) bool { return !slices.Contains(stopping[row], h) })
			})
			if found == (byOne && !active.Has(r.Guards)) {
				t.Errorf("%s of %v under %s: found %t, stopped %t", r.ID, r.Rows, active, found, byOne)
			}
			byAny := len(r.Rows) > 0 && !slices.ContainsFunc(r.Rows, func(row string) bool { return len(stopping[row]) == 0 })
			if byAny != byOne && !strings.HasPrefix(r.ID, "random-") {
				t.Errorf("%s of %v under %s: each row is stopped, but by different holds", r.ID, r.Rows, active)
			}
			if byOne {
				silent++
			} else {
				asked++
			}
		}
	}
	if silent < 50 || asked < 50 {
		t.Errorf("%d silent, %d asked", silent, asked)
	}
}

func TestDeletions(t *testing.T) {
	t.Parallel()
	guard := leak.NewGuard([]leak.Rule{
		leak.Rule{ID: "writes", Kinds: []string{object.KindPod}}.Finding(),
		leak.Rule{ID: "deletions", Kinds: []string{object.KindPod}, Deletions: true}.Finding(),
		leak.Rule{ID: "another-kind", Kinds: []string{object.KindService}, Deletions: true}.Finding(),
	})
	view := indexWith(t, policy.HoldsOf(policy.MeshConfig), "{}").View()
	pod := &object.Object{Kind: object.KindPod}
	for name, test := range map[string]struct {
		write leak.Write
		want  []string
	}{
		"written":  {leak.Write{Object: pod}, []string{"writes", "deletions"}},
		"deleted":  {leak.Write{Object: pod, Deleted: true}, []string{"deletions"}},
		"restated": {leak.Write{Object: pod, Old: leak.Known(pod)}, nil},
	} {
		if diff := cmp.Diff(test.want, rulesFound(guard.Judge(test.write, view))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestTouched: who changes what others wrote is not refused for it, and the new part is.
func TestTouched(t *testing.T) {
	t.Parallel()
	index := indexWith(t, policy.HoldsOf(policy.MeshConfig), "{default: strict}")
	endpoints := func(rest string) *object.Object {
		return decode(t, object.KindEndpoints, []byte(`{"metadata": {"namespace": "shop", "name": "cart"}, "subsets": [{"addresses": [{"ip": "10.1.0.1"}]}`+rest+`]}`))
	}
	guard := leak.NewGuard(leak.Rules())
	for rest, want := range map[string][]string{"": nil, `, {"addresses": [{"ip": "10.1.0.2"}]}`: {"endpointslice-foreign-writer"}} {
		w := leak.Write{Object: endpoints(rest), Old: leak.Known(endpoints("")), Writer: "alice"}
		if diff := cmp.Diff(want, rulesFound(guard.Judge(w, index.View()))); diff != "" {
			t.Errorf("%q (-want +got):\n%s", rest, diff)
		}
	}
}

// existing are objects that let the traffic of shop/cart out, and one of shop/till.
func existing(t testing.TB, index *policy.Index) {
	t.Helper()
	for _, o := range []struct{ kind, namespace, name, spec string }{
		{object.KindDestinationRule, "app", "exact", `{"host": "cart.shop.svc.cluster.local", "trafficPolicy": {"loadBalancer": {"simple": "PASSTHROUGH"}}}`},
		{object.KindDestinationRule, "app", "wide", `{"host": "*.shop.svc.cluster.local", "trafficPolicy": {"tunnel": {"targetHost": "a", "targetPort": 1}}}`},
		{object.KindDestinationRule, "shop", "other", `{"host": "till", "trafficPolicy": {"loadBalancer": {"simple": "PASSTHROUGH"}}}`},
		{object.KindDestinationRule, "shop", "harmless", `{"host": "cart"}`},
		{object.KindServiceEntry, "app", "bare", `{"hosts": ["cart"]}`},
		{object.KindVirtualService, "shop", "routes", `{"hosts": ["cart"], "http": [{"route": [{"destination": {"host": "www.example.com"}}]}]}`},
	} {
		index.SetObject(decode(t, o.kind, fmt.Appendf(nil, `{"metadata": {"namespace": %q, "name": %q}, "spec": %s}`, o.namespace, o.name, o.spec)))
	}
}

func TestStanding(t *testing.T) {
	t.Parallel()
	warned := []string{
		"destinationrule-passthrough DestinationRule app/exact: spec.trafficPolicy.loadBalancer.simple",
		"destinationrule-tunnel DestinationRule app/wide: spec.trafficPolicy.tunnel",
		"serviceentry-fenced-host ServiceEntry app/bare: spec.hosts[0]",
		"virtualservice-foreign-host VirtualService shop/routes: spec.http[0].route[0].destination.host",
	}
	text := func(value string) string { return fmt.Sprintf(`{"annotations": {%q: %q}}`, policy.FenceKey, value) }
	const inShop = "{namespaces: [{name: shop, fence: strict}]}"
	strict, prefer, silent := text("strict"), text("prefer"), `{}`
	tests := map[string]struct {
		scope    string
		old, now string // metadata; no old one on creation
		deleted  bool
		want     []string
	}{
		"created strict":                {now: strict, want: warned},
		"becomes strict":                {old: silent, now: strict, want: warned},
		"becomes stricter":              {old: prefer, now: strict, want: warned},
		"was strict before":             {old: strict, now: strict},
		"was strict by its Namespace":   {scope: inShop, old: silent, now: strict},
		"created in a strict Namespace": {scope: inShop, now: silent, want: warned},
		"loses what loosened it":        {scope: inShop, old: prefer, now: silent, want: warned},
		"becomes prefer": {old: silent, now: prefer, want: []string{
			"destinationrule-prefer-idle DestinationRule app/exact: spec.trafficPolicy.loadBalancer.simple",
		}},
		"is loosened": {old: strict, now: silent},
		"goes":        {now: strict, deleted: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if test.scope == "" {
				test.scope = "{default: none}"
			}
			index := indexWith(t, policy.HoldsOf(policy.MeshConfig), test.scope)
			existing(t, index)
			service := func(metadata string) *object.Object {
				o := decode(t, object.KindService, fmt.Appendf(nil, `{"metadata": %s, "spec": {}}`, metadata))
				o.Metadata.Namespace, o.Metadata.Name = "shop", "cart"
				return o
			}
			w := leak.Write{Object: service(test.now), Deleted: test.deleted}
			if test.old != "" {
				w.Old = leak.Known(service(test.old))
				index.SetService(hostname.Host{Namespace: "shop", Name: "cart"}, w.Before().Metadata.Annotations)
			}
			var got []string
			for _, f := range leak.NewGuard(leak.Rules()).Existing(w, index.View()) {
				got = append(got, f.Rule+" "+f.Field())
				if f.Severity != leak.Warn || f.Host.Host != "cart.shop.svc.cluster.local" || !strings.HasPrefix(f.Message(), "must ") {
					t.Errorf("finding %+v", f)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}
