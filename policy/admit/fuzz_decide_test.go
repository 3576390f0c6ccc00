package admit_test

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/admit"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
)

// FuzzDecide sends objects of every kind on the way of a request, mutation before validation, as creation, change
// and deletion. A decision always comes: a verdict, or word of what is wrong with the request. What mutation
// stores can be judged, and a rule that holds make good for everything it reports finds nothing in it.
func FuzzDecide(f *testing.F) {
	routes, rules, indexes := admit.Kinds(), leak.Rules(), fuzzIndexes(f)
	for kind := range routes {
		for choice := range byte(4) {
			f.Add(byte(kind), choice, []byte(`{"metadata":{"name":"istio","namespace":"shop"},"spec":{"host":"reviews","hosts":["reviews"],"subsets":[{"name":"v1"}]},`+
				`"data":{"mesh":"serviceSettings: [{settings: {clusterLocal: false}, hosts: ['*.shop.svc.cluster.local']}]"}}`), []byte(`{"data":{"mesh":"{}"}}`))
			f.Add(byte(kind), 8*choice, []byte(`{"metadata":{"name":"istio","labels":null},"spec":{"http":[null,{"route":[null]}],"rules":[null]},"data":{"mesh":"a: [","b":null}}`), []byte(nil))
			f.Add(byte(kind), 16*choice, []byte(`[]`), []byte(`{`))
		}
	}
	guard := leak.NewGuard(rules)
	f.Fuzz(func(t *testing.T, kind, choice byte, obj, old []byte) {
		route, index := routes[int(kind)%len(routes)], indexes[int(choice)%len(indexes)]
		subject := admit.Request{Kind: route.Kind, Namespace: "shop", Raw: obj, Old: old, Deleted: choice > 200, Writer: "alice"}
		if route.Kind == object.KindConfigMap {
			subject.Namespace = "istio-system"
		}
		var edits []inject.Edit
		if route.Mutate && !subject.Deleted {
			var err error
			if edits, err = admit.Mutate(subject, index.View()); !badRequestOrNil(err) {
				t.Fatalf("mutate %s: %v", obj, err)
			}
		}
		if len(edits) > 0 && !repeatsKeys(t, obj) {
			stored, err := admit.Apply(obj, edits)
			if err != nil {
				t.Fatalf("apply %+v to %s: %v", edits, obj, err)
			}
			subject.Raw = stored
		}
		view := index.View()
		verdict, err := admit.Validate(subject, guard, view, time.Unix(0, 0))
		if !badRequestOrNil(err) || err != nil && len(edits) > 0 && json.Valid(obj) {
			t.Fatalf("validate %s: %v", subject.Raw, err)
		}
		if route.Kind != object.KindConfigMap || len(edits) == 0 {
			return // package inject asks this of the kinds that it fixes
		}
		for _, finding := range verdict.Denied {
			if i := slices.IndexFunc(rules, func(r leak.Rule) bool { return r.ID == finding.Rule }); madeGood(rules[i], view.Config().Holds) {
				t.Errorf("%s of %s must be fixed in %s", finding.Rule, finding.Field(), subject.Raw)
			}
		}
	})
}

func badRequestOrNil(err error) bool {
	_, ok := errors.AsType[*admit.BadRequest](err)
	return err == nil || ok
}

// madeGood reports whether an active hold repairs each row of a rule.
func madeGood(r leak.Rule, active policy.Holds) bool {
	for _, row := range leak.Catalogue() {
		if slices.Contains(r.Rows, row.ID) && !row.Repairs.Intersects(active.Routing()) {
			return false
		}
	}
	return len(r.Rows) > 0
}
