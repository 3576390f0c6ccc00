package leak_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
)

// crowd returns an index in which Namespace shop softens what becomes of findings, and the FenceConfig locks but one
// of its strict Services, whose name does not come first. In app nothing is softened.
func crowd(t *testing.T, scope string) *policy.Index {
	t.Helper()
	index := indexWith(t, policy.HoldsOf(policy.Subset), scope)
	index.SetNamespace("shop", map[string]string{policy.EnforcementLabel: "audit"})
	index.SetNamespace("app", map[string]string{policy.EnforcementLabel: "audit"})
	index.SetNamespace("bank", nil)
	for i, name := range []string{"a", "reviews", "z"} {
		h := hostname.Host{Namespace: "shop", Name: name}
		index.SetService(h, map[string]string{policy.FenceKey: "strict"})
		index.SetServiceSpec(h, object.ServiceSpec{
			Selector: map[string]string{"app": "reviews"}, ClusterIP: fmt.Sprintf("10.0.0.%d", i+1), Ports: []object.ServicePort{{Port: 80}},
		})
	}
	return index
}

// decoys are objects that touch all three Services of the crowd in one finding, by the rule that finds them.
func decoys() map[string]*object.Object {
	obj := func(kind string, fill func(*object.Object)) *object.Object {
		o := &object.Object{Kind: kind, Metadata: object.Metadata{Namespace: "shop", Name: "it", Labels: map[string]string{"app": "reviews"}}}
		fill(o)
		return o
	}
	labels := map[string]string{"app": "reviews"}
	elsewhere := []object.HTTPRoute{{
		Redirect: &object.HTTPRedirect{Authority: "example.com"},
		Match: []object.HTTPMatch{{ClientMatch: object.ClientMatch{
			SourceLabels: map[string]string{"a": "b"}, Gateways: []string{object.MeshGateway},
		}}},
	}}
	all := []string{"a", "reviews", "z"}
	return map[string]*object.Object{
		"destinationrule-tunnel": obj(object.KindDestinationRule, func(o *object.Object) {
			o.DestinationRule = &object.DestinationRule{Host: "*.shop.svc.cluster.local", TrafficPolicy: &object.TrafficPolicy{Tunnel: &object.Tunnel{}}}
		}),
		"serviceentry-fenced-host": obj(object.KindServiceEntry, func(o *object.Object) {
			o.ServiceEntry = &object.ServiceEntry{Hosts: []string{"*.local"}, Resolution: "DNS"}
		}),
		"serviceentry-foreign-network": obj(object.KindServiceEntry, func(o *object.Object) {
			o.ServiceEntry = &object.ServiceEntry{Hosts: all, Endpoints: []object.WorkloadEntry{{Network: "n2"}}}
		}),
		"serviceentry-selects-fenced-pods": obj(object.KindServiceEntry, func(o *object.Object) {
			o.ServiceEntry = &object.ServiceEntry{Hosts: []string{"example.com"}, WorkloadSelector: &object.WorkloadSelector{Labels: labels}}
		}),
		"workloadentry-joins-fenced-service": obj(object.KindWorkloadEntry, func(o *object.Object) {
			o.WorkloadEntry = &object.WorkloadEntry{Labels: labels}
		}),
		"virtualservice-redirect": obj(object.KindVirtualService, func(o *object.Object) {
			o.VirtualService = &object.VirtualService{Hosts: all, HTTP: elsewhere}
		}),
		"virtualservice-source-labels": obj(object.KindVirtualService, func(o *object.Object) {
			o.VirtualService = &object.VirtualService{Hosts: all, HTTP: elsewhere}
		}),
		"gateway-exposes-fenced-host": obj(object.KindGateway, func(o *object.Object) {
			o.Gateway = &object.Gateway{Servers: []object.GatewayServer{{Hosts: []string{"*/*"}, TLS: &object.GatewayTLS{Mode: "AUTO_PASSTHROUGH"}}}}
		}),
		"pod-foreign-network": obj(object.KindPod, func(o *object.Object) {
			o.Metadata.Labels = map[string]string{"app": "reviews", "topology.istio.io/network": "n2"}
		}),
	}
}

// TestTightestHost: of the hosts that a finding touches a locked one decides, whatever other Service comes before it,
// and otherwise the Namespace that deals with findings the hardest; it names them all.
func TestTightestHost(t *testing.T) {
	t.Parallel()
	locked := "{services: [{namespace: shop, name: reviews, fence: strict, locked: true}]}"
	for rule, object := range decoys() {
		for scope, want := range map[string]string{locked: "reviews, locked, softened: false", "{}": "a, free, softened: true"} {
			t.Run(rule+" in "+scope, func(t *testing.T) {
				t.Parallel()
				view := crowd(t, scope).View()
				findings := leak.NewGuard(leak.Rules()).Check(object, view)
				i := slices.IndexFunc(findings, func(f leak.Finding) bool { return f.Rule == rule })
				if i < 0 {
					t.Fatalf("found:\n%s", describe(findings))
				}
				f := findings[i]
				state := map[bool]string{true: "locked", false: "free"}[f.Host.Locked]
				softened := len(leak.Sort([]leak.Finding{f}, view, time.Now()).Audited) > 0
				name, _, _ := cutHost(f.Host.Host)
				if diff := cmp.Diff(want, fmt.Sprintf("%s, %s, softened: %t", name, state, softened)); diff != "" {
					t.Errorf("tightest (-want +got):\n%s", diff)
				}
				if len(f.Host.Hosts())+f.Host.More != 3 || f.Host.Hosts()[0] != f.Host.Host {
					t.Errorf("hosts %v and %d more, want all three", f.Host.Hosts(), f.Host.More)
				}
			})
		}
	}
}

func cutHost(fqdn string) (name, namespace string, ok bool) {
	h, ok := hostname.Parse(fqdn, "cluster.local")
	return h.Name, h.Namespace, ok
}

// TestEnforcementIsThatOfTheHost: what a Namespace says softens findings on its own hosts, whoever writes, and not
// those on the hosts of others (L9). What touches no host is for the Namespace of the object.
func TestEnforcementIsThatOfTheHost(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		host, in string
		want     string
	}{
		"another's host, by one that softens":    {"ledger.bank.svc.cluster.local", "app", leak.OutcomeDenied},
		"a softened host, by one that does not":  {"a.shop.svc.cluster.local", "bank", leak.OutcomeAudited},
		"softened hosts and another":             {"*.svc.cluster.local", "app", leak.OutcomeDenied},
		"one's own, softened":                    {"a.shop.svc.cluster.local", "shop", leak.OutcomeAudited},
		"one's own, not softened":                {"ledger.bank.svc.cluster.local", "bank", leak.OutcomeDenied},
		"those of a softened Namespace together": {"*.shop.svc.cluster.local", "bank", leak.OutcomeAudited},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			index := crowd(t, "{}")
			index.SetService(hostname.Host{Namespace: "bank", Name: "ledger"}, map[string]string{policy.FenceKey: "strict"})
			o := &object.Object{
				Kind: object.KindServiceEntry, Metadata: object.Metadata{Namespace: test.in, Name: "it"},
				ServiceEntry: &object.ServiceEntry{Hosts: []string{test.host}, Resolution: "DNS"},
			}
			view := index.View()
			var got string
			for _, group := range leak.Sort(leak.NewGuard(leak.Rules()).Check(o, view), view, time.Now()).ByOutcome() {
				for range group.Findings {
					got += group.Outcome
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("outcome (-want +got):\n%s", diff)
			}
		})
	}
}

// TestFurtherHosts: a change by which a finding touches a further host brings it in, and one by which it touches
// fewer does not.
func TestFurtherHosts(t *testing.T) {
	t.Parallel()
	var many []string
	index := indexWith(t, policy.HoldsOf(policy.MeshConfig), "{default: strict}")
	for i := range 13 {
		many = append(many, fmt.Sprintf("s%02d", i))
		index.SetService(hostname.Host{Namespace: "shop", Name: many[i]}, nil)
	}
	entry := func(hosts []string) *object.Object {
		return &object.Object{
			Kind: object.KindServiceEntry, Metadata: object.Metadata{Namespace: "shop", Name: "it"},
			ServiceEntry: &object.ServiceEntry{Hosts: hosts, Endpoints: []object.WorkloadEntry{{Network: "n2"}}},
		}
	}
	for name, test := range map[string]struct {
		before, after []string
		brought       bool
	}{
		"one more":          {many[:1], many[:2], true},
		"one less":          {many[:2], many[1:2], false},
		"another":           {many[:1], many[1:2], true},
		"the same":          {many[:2], many[:2], false},
		"one more of many":  {many[:12], many, true},
		"one less of many":  {many, many[1:], false},
		"as many as a name": {many, many[:10], false},
	} {
		w := leak.Write{Object: entry(test.after), Old: leak.Known(entry(test.before))}
		found := rulesFound(leak.NewGuard(leak.Rules()).Judge(w, index.View()))
		if brought := slices.Contains(found, "serviceentry-foreign-network"); brought != test.brought {
			t.Errorf("%s: brought in %t, want %t", name, brought, test.brought)
		}
	}
}

// far returns objects by which requests for bank/ledger go to app/gw, which is strict as well, and what comes from
// elsewhere joins that.
func far(t *testing.T, exemptions string) (index *policy.Index, route, joined *object.Object) {
	t.Helper()
	index = policy.NewIndex(configFrom(t, exemptions))
	index.SetNamespace("app", map[string]string{policy.EnforcementLabel: "audit"})
	index.SetNamespace("bank", nil)
	for _, h := range []hostname.Host{{Namespace: "bank", Name: "ledger"}, {Namespace: "app", Name: "gw"}} {
		index.SetService(h, map[string]string{policy.FenceKey: "strict"})
		index.SetServiceSpec(h, object.ServiceSpec{Selector: map[string]string{"app": h.Name}})
	}
	route = &object.Object{
		Kind: object.KindVirtualService, Metadata: object.Metadata{Namespace: "app", Name: "route"},
		VirtualService: &object.VirtualService{
			Hosts: []string{"ledger.bank.svc.cluster.local"},
			HTTP:  []object.HTTPRoute{{Route: []object.WeightedDestination{{Destination: &object.Destination{Host: "gw"}}}}},
		},
	}
	joined = &object.Object{
		Kind: object.KindWorkloadEntry, Metadata: object.Metadata{Namespace: "app", Name: "far", Labels: map[string]string{"team": "far"}},
		WorkloadEntry: &object.WorkloadEntry{Address: "10.9.9.9", Labels: map[string]string{"app": "gw"}},
	}
	return index, route, joined
}

func configFrom(t *testing.T, exemptions string) *policy.Config {
	t.Helper()
	config, err := policy.ParseConfig(policy.Source{Rules: leak.IDs(leak.Rules())}, []byte("apiVersion: config.meshfence.io/v1alpha1\nkind: FenceConfig\n"+
		"controlPlane: {clusters: [m1c1]}\nholds: [meshConfig]\n"+exemptions))
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// TestDestinationOfAnother: what joins a strict Service is refused however its own Namespace softens that, once
// requests for another's host are sent there, and what joined it before keeps such a route out; only the FenceConfig
// can accept it.
func TestDestinationOfAnother(t *testing.T) {
	t.Parallel()
	const accepted = "exemptions: [{rule: workloadentry-joins-fenced-service, namespace: app, name: far, until: 2030-01-01, reason: ours}]\n"
	now := time.Date(2029, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		exemptions string
		first      func(route, joined *object.Object) *object.Object
		second     func(route, joined *object.Object) *object.Object
		now        time.Time
		want       string
	}{
		"nothing leads there":    {"", nil, second, now, leak.OutcomeAudited},
		"a route leads there":    {"", first, second, now, leak.OutcomeDenied},
		"a route comes second":   {"", second, first, now, leak.OutcomeDenied},
		"it is accepted":         {accepted, second, first, now, leak.OutcomeExempted},
		"it was accepted before": {accepted, second, first, now.AddDate(2, 0, 0), leak.OutcomeDenied},
		"its Namespace is":       {strings.Replace(accepted, "name: far, ", "", 1), second, first, now, leak.OutcomeExempted},
		"by its labels":          {strings.Replace(accepted, "name: far", "selector: {matchLabels: {team: far}}", 1), second, first, now, leak.OutcomeExempted},
		"others are":             {strings.Replace(accepted, "name: far", "selector: {matchLabels: {team: near}}", 1), second, first, now, leak.OutcomeDenied},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			index, route, joined := far(t, test.exemptions)
			if test.first != nil {
				index.SetObject(test.first(route, joined))
			}
			view := index.View()
			findings := leak.NewGuard(leak.Rules()).Judge(leak.Write{Object: test.second(route, joined), Writer: "alice"}, view)
			var got string
			for _, group := range leak.Sort(findings, view, test.now).ByOutcome() {
				for range group.Findings {
					got += group.Outcome
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("outcome (-want +got):\n%s", diff)
			}
		})
	}
}

func first(route, _ *object.Object) *object.Object { return route }

func second(_, joined *object.Object) *object.Object { return joined }

// TestSenderSoftensNothing: a Namespace that only records, and whose requests are sent to a Service of another, softens
// nothing of what becomes of the deletion of that Service.
func TestSenderSoftensNothing(t *testing.T) {
	t.Parallel()
	index, route, _ := far(t, "")
	index.SetNamespace("app", nil)
	index.SetNamespace("bank", map[string]string{policy.EnforcementLabel: "audit"})
	index.SetObject(route)
	gw, err := object.Decode(object.KindService, []byte(`{"kind":"Service","metadata":{"namespace":"app","name":"gw","annotations":{"meshfence.io/fence":"strict"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	view := index.View()
	verdict := leak.Sort(leak.NewGuard(leak.Rules()).Judge(leak.Write{Object: gw, Deleted: true, Writer: "alice"}, view), view, time.Now())
	if diff := cmp.Diff([]string{"service-deleted"}, rulesFound(verdict.Warned)); diff != "" {
		t.Errorf("warned of (-want +got):\n%s", diff)
	}
}
