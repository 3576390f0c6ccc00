package inject_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/object"
)

// TestReplaced: only what Istio prefers to a companion for every client takes its place.
func TestReplaced(t *testing.T) {
	t.Parallel()
	shop := object.Metadata{Namespace: "shop", Name: "users"}
	of := func(names ...string) (hosts []hostname.Host) {
		for _, name := range names {
			hosts = append(hosts, hostname.Host{Namespace: "shop", Name: name})
		}
		return hosts
	}
	for name, test := range map[string]struct {
		rule  *object.DestinationRule
		route *object.VirtualService
		want  []hostname.Host
	}{
		"a rule":                         {rule: &object.DestinationRule{Host: "reviews"}, want: of("reviews")},
		"a rule that few see":            {rule: &object.DestinationRule{Host: "reviews", ExportTo: []string{"."}}, want: of("reviews")},
		"a rule of another Namespace":    {rule: &object.DestinationRule{Host: "reviews.other.svc.cluster.local"}},
		"a rule for a wildcard":          {rule: &object.DestinationRule{Host: "*.shop.svc.cluster.local"}},
		"a rule for some clients":        {rule: &object.DestinationRule{Host: "reviews", WorkloadSelector: &object.RuleSelector{}}},
		"a route":                        {route: &object.VirtualService{Hosts: []string{"Reviews", "ratings.shop.svc.cluster.local", "far.example", "a.other.svc.cluster.local"}}, want: of("reviews", "ratings")},
		"a route of a gateway":           {route: &object.VirtualService{Hosts: []string{"reviews"}, Gateways: []string{"front"}}},
		"a route that few see":           {route: &object.VirtualService{Hosts: []string{"reviews"}, ExportTo: []string{"."}}},
		"a route that everybody sees":    {route: &object.VirtualService{Hosts: []string{"reviews"}, ExportTo: []string{".", "*"}}, want: of("reviews")},
		"neither a rule nor a route":     {},
		"a route of the mesh and others": {route: &object.VirtualService{Hosts: []string{"reviews"}, Gateways: []string{"front", "mesh"}}, want: of("reviews")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := inject.Replaced(&object.Object{Metadata: shop, DestinationRule: test.rule, VirtualService: test.route}, "cluster.local")
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("Services (-want +got):\n%s", diff)
			}
		})
	}
}
