package inject_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/object"
)

// There is a reserved subset where something leads to it, and nowhere else.
func TestReservedSubsetsThatAreNeeded(t *testing.T) {
	t.Parallel()
	const route = `{"metadata":{"name":"it","namespace":"web"},"spec":{"hosts":["it"],"http":[{"route":[{"destination":{"host":"reviews.shop.svc.cluster.local","subset":"meshfence-m1c2"}}]}]}}`
	for name, test := range map[string]struct {
		config string
		routes []string
		want   []string
	}{
		"the only hold":                     {config: "controlPlane: {clusters: [m1c1]}\nholds: [subset]", want: []string{"meshfence-local"}},
		"beside another hold":               {config: "controlPlane: {clusters: [m1c1]}\nholds: [meshConfig, subset]"},
		"several clusters":                  {config: "controlPlane: {clusters: [m1c1, m1c2]}\nholds: [meshConfig, subset]"},
		"several clusters, and one is used": {config: "controlPlane: {clusters: [m1c1, m1c2]}\nholds: [meshConfig, subset]", routes: []string{route}, want: []string{"meshfence-m1c2"}},
		"another hold":                      {config: "controlPlane: {clusters: [m1c1, m1c2]}\nholds: [meshConfig]", routes: []string{route}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config, err := policy.ParseConfig(policy.Source{}, fmt.Appendf(nil,
				"apiVersion: config.meshfence.io/v1alpha1\nkind: FenceConfig\n%s\nscope: {default: strict}\n", test.config))
			if err != nil {
				t.Fatal(err)
			}
			index := policy.NewIndex(config)
			for _, r := range test.routes {
				o, err := object.Decode(object.KindVirtualService, []byte(r))
				if err != nil {
					t.Fatal(err)
				}
				index.SetObject(o)
			}
			rule, err := object.Decode(object.KindDestinationRule, []byte(`{"metadata":{"name":"reviews","namespace":"shop"},"spec":{"host":"reviews"}}`))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, e := range inject.Object(rule, index.View()).Edits {
				if subset, ok := e.Value.(map[string]any); ok && e.Path[1] == "subsets" {
					got = append(got, fmt.Sprint(subset["name"]))
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
