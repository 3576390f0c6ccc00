package leak_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
)

// viewKinds lists the kinds that have a view, whether a rule reads them or not.
func viewKinds() []string {
	return []string{
		object.KindService, object.KindNamespace, object.KindConfigMap, object.KindPod, object.KindEndpoints, object.KindEndpointSlice,
		object.KindIngress, object.KindDestinationRule, object.KindVirtualService, object.KindServiceEntry, object.KindWorkloadEntry,
		object.KindWorkloadGroup, object.KindSidecar, object.KindGateway, object.KindEnvoyFilter, object.KindProxyConfig, object.KindServiceExport,
		object.KindHTTPRoute, object.KindGRPCRoute, object.KindTCPRoute, object.KindTLSRoute, object.KindBackendTLSPolicy,
		object.KindBinding, object.KindWasmPlugin, object.KindTrafficExtension,
	}
}

// populated returns an index in which there is something to find for every rule, under every set of holds and
// three scopes.
func populated(t testing.TB) []*policy.Index {
	t.Helper()
	var indexes []*policy.Index
	for _, scope := range []string{"{default: strict}", "{default: prefer}", "{namespaces: [{name: shop, fence: strict, locked: true}]}"} {
		for _, holds := range someHolds() {
			index := indexWith(t, holds, scope)
			for _, name := range []string{"a", "cart", "reviews"} {
				h := hostname.Host{Namespace: "shop", Name: name}
				index.SetService(h, nil)
				index.SetServiceSpec(h, object.ServiceSpec{Selector: map[string]string{"app": name}, ClusterIP: "10.0.0.1", Ports: []object.ServicePort{
					{Name: "http", Port: 9080}, {Name: "tcp", Port: 9090},
				}})
			}
			existing(t, index)
			index.SetObject(fromYAML(t, object.KindSidecar, hidden))
			index.SetObject(fromYAML(t, object.KindServiceEntry, opens))
			indexes = append(indexes, index)
		}
	}
	return indexes
}

// FuzzGuard: no rule panics, whatever the object, what it replaces and who writes; the same request gets the same
// findings, each of which can be answered with; and who writes again what exists is told nothing.
func FuzzGuard(f *testing.F) {
	kinds := viewKinds()
	for i, c := range load(f) {
		old := []byte(nil)
		if c.Old != nil {
			old = c.Old.JSON
		}
		f.Add(byte(slices.Index(kinds, c.Object.Kind)), byte(i), c.Object.JSON, old)
	}
	for kind := range kinds {
		for i, text := range []string{
			`{}`, `null`, `{"metadata": {"labels": null, "name": ""}, "spec": null, "subsets": [null], "endpoints": [null], "data": {"mesh": "a: ["}}`,
			`{"metadata": {"namespace": "shop", "name": "cart", "labels": {"kubernetes.io/service-name": "cart", "topology.istio.io/network": "n2", "istio.io/rev": "x"},
				"annotations": {"meshfence.io/fence": "strict"}}, "endpoints": [{"addresses": ["10.1.0.1", ""]}], "subsets": [{"addresses": [{"ip": "x"}]}],
				"spec": {"host": "cart", "hosts": ["cart", "", "*", "./cart"], "address": "10.1.0.1", "addresses": ["10.0.0.0/8", "10.0.0.1", "x/y", ""],
				"network": "n2", "locality": "//", "labels": {"app": "cart"}, "workloadSelector": {"labels": {"app": "cart"}}, "endpoints": [null, {"network": "n2"}],
				"template": {"labels": {"app": "cart"}}, "exportTo": [".", "~", ""], "type": "ExternalName", "selector": null, "clusterIPs": ["None", "::1"],
				"servers": [null, {"hosts": ["*/cart"], "tls": {"mode": "AUTO_PASSTHROUGH"}}], "outboundTrafficPolicy": {"egressProxy": {"host": ""}},
				"http": [null, {"match": [null], "redirect": {}, "rewrite": {"authority": "x"}, "delegate": {}, "route": [null, {"destination": null}]}], "tls": [{}], "tcp": [null],
				"parentRefs": [null, {"group": "", "kind": "Service", "name": "cart"}], "targetRefs": [null, {"name": "cart"}],
				"rules": [null, {"http": null, "backendRefs": [null, {"name": "cart"}], "filters": [{"requestMirror": {}}]}], "defaultBackend": {"service": {"name": "cart"}}}}`,
		} {
			f.Add(byte(kind), byte(kind+i), []byte(text), []byte(nil))
			f.Add(byte(kind), byte(kind+i), []byte(text), []byte(`{"metadata": {"namespace": "shop"}}`))
		}
	}
	indexes := populated(f)
	guard := leak.NewGuard(leak.Rules())
	f.Fuzz(func(t *testing.T, kind, choice byte, obj, old []byte) {
		view := func() *policy.View { return indexes[int(choice)%len(indexes)].View() }
		o, err := object.Decode(kinds[int(kind)%len(kinds)], obj)
		if err != nil {
			t.Skip()
		}
		writer := []string{"", "alice", "system:kube-controller-manager"}[int(choice/64)%3]
		w := leak.Write{Object: o, Writer: writer, Own: choice%32 == 7}
		if before, err := object.Decode(o.Kind, old); err == nil {
			w.Old = leak.Known(before)
		}
		findings := guard.Judge(w, view())
		wellFormed(t, w, findings, view())
		if diff := cmp.Diff(findings, guard.Judge(w, view()), cmpopts.IgnoreUnexported(leak.Finding{})); diff != "" {
			t.Errorf("the second answer differs (-first +second):\n%s", diff)
		}
		wellFormed(t, w, guard.Judge(leak.Write{Object: o, Writer: writer, Deleted: true}, view()), view())
		if again := guard.Judge(leak.Write{Object: o, Old: leak.Known(o), Writer: writer, Own: w.Own}, view()); len(again) > 0 {
			t.Errorf("nothing is new in:\n%s", describe(again))
		}
		if o.Service != nil {
			for _, finding := range guard.Existing(w, view()) {
				if finding.Severity != leak.Warn && w.Old == nil {
					t.Errorf("%s refuses what a Service is not to blame for", finding.Rule)
				}
			}
		}
		relate(guard, o, indexes[int(choice)%len(indexes)].Config())
	})
}

// wellFormed demands that a finding names a rule, a field and what must be there, and that each gets a verdict.
func wellFormed(t *testing.T, w leak.Write, findings []leak.Finding, view *policy.View) {
	t.Helper()
	for _, f := range findings {
		known := slices.ContainsFunc(leak.Rules(), func(r leak.Rule) bool {
			return r.ID == f.Rule && (f.Severity == r.Severity || f.Severity == leak.Warn) && slices.Contains(r.Kinds, w.Kind) && (r.Deletions || !w.Deleted)
		})
		if !known || f.Field() == "" || !strings.HasPrefix(f.Message(), "must ") || f.Object.Kind != w.Kind || f.Object.Name != w.Metadata.Name {
			t.Errorf("finding %+v", f)
		}
	}
	v := leak.Sort(findings, view, time.Unix(0, 0))
	if got := len(v.Denied) + len(v.Warned) + len(v.Audited) + len(v.Exempted); got != len(findings) {
		t.Errorf("%d findings get %d verdicts", len(findings), got)
	}
}

// relate puts the object among others, and judges whatever is related to a Service then.
func relate(guard *leak.Guard, o *object.Object, config *policy.Config) {
	index := policy.NewIndex(config)
	index.SetObject(o)
	view := index.View()
	for _, other := range append(view.Related(hostname.Host{Namespace: "shop", Name: "cart"}), view.Delegators(o.Key())...) {
		guard.Check(other, view)
	}
	index.DeleteObject(o.Key())
}
