package inject_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/object"
)

// heldObjects are objects of shop by what they are in the tables.
func heldObjects() map[string]struct{ kind, metadata, spec string } {
	const own = `"name": "reviews-meshfence", "labels": {"app.kubernetes.io/managed-by": "meshfence"}`
	const local = `"subsets": [{"name": "meshfence-local", "labels": {"topology.istio.io/cluster": "m1c1"}}]`
	const distribute = `"trafficPolicy": {"loadBalancer": {"localityLbSetting": {"distribute": [{"from": "*", "to": {"r1/*": 100}}]}}}`
	const toLocal = `[{"route": [{"destination": {"host": "reviews", "subset": "meshfence-local"}}]}]`
	const every = `"http": ` + toLocal + `, "tcp": ` + toLocal + `, "tls": [{"match": [{"sniHosts": ["reviews.shop.svc.cluster.local"]}], "route": [{"destination": {"host": "reviews", "subset": "meshfence-local"}}]}]`
	return map[string]struct{ kind, metadata, spec string }{
		"companion rule":             {object.KindDestinationRule, own, `{"host": "reviews.shop.svc.cluster.local", ` + local + `}`},
		"companion with distribute":  {object.KindDestinationRule, own, `{"host": "reviews.shop.svc.cluster.local", ` + distribute + `}`},
		"companion route":            {object.KindVirtualService, own, `{"hosts": ["reviews.shop.svc.cluster.local"], ` + every + `}`},
		"taken rule":                 {object.KindDestinationRule, `"name": "reviews-meshfence"`, `{"host": "example.com"}`},
		"taken route":                {object.KindVirtualService, `"name": "reviews-meshfence"`, `{"hosts": ["example.com"]}`},
		"user's rule":                {object.KindDestinationRule, `"name": "mine"`, `{"host": "reviews", ` + local + `}`},
		"user's rule, bare":          {object.KindDestinationRule, `"name": "mine"`, `{"host": "reviews"}`},
		"user's rule for some":       {object.KindDestinationRule, `"name": "some"`, `{"host": "reviews", "workloadSelector": {"matchLabels": {"a": "b"}}, ` + local + `}`},
		"user's rule, of a wildcard": {object.KindDestinationRule, `"name": "wide"`, `{"host": "*.shop.svc.cluster.local", ` + local + `}`},
		"user's route":               {object.KindVirtualService, `"name": "mine"`, `{"hosts": ["reviews"], ` + every + `}`},
		"user's route, bare":         {object.KindVirtualService, `"name": "mine"`, `{"hosts": ["reviews"], "http": [{"route": [{"destination": {"host": "reviews"}}]}]}`},
		"user's route, of a gateway": {object.KindVirtualService, `"name": "mine"`, `{"hosts": ["reviews"], "gateways": ["gw"], ` + every + `}`},
		"user's route, private":      {object.KindVirtualService, `"name": "mine"`, `{"hosts": ["reviews"], "exportTo": ["."], ` + every + `}`},
		"private rule":               {object.KindDestinationRule, `"name": "mine"`, `{"host": "reviews", "exportTo": ["."], ` + distribute + `}`},
		"blocked rule":               {object.KindDestinationRule, `"name": "mine"`, `{"host": "reviews", "trafficPolicy": {"loadBalancer": {"localityLbSetting": {"enabled": false}}}}`},
	}
}

func TestHeld(t *testing.T) {
	t.Parallel()
	const listed = "locality\nlocalities: {m1c1: [r1/*]}"
	hosts := func(list ...string) func(string) bool {
		return func(host string) bool { return strings.Contains(strings.Join(list, " "), host) }
	}
	for name, test := range map[string]struct {
		holds   string
		fault   *policy.HoldFault
		objects string // joined with +
		held    string
		lacks   string
	}{
		"meshConfig":                       {"meshConfig", nil, "", "meshConfig", ""},
		"meshConfig is broken":             {"meshConfig", broken(), "", "", inject.LackMeshConfigBroken},
		"meshConfig is behind":             {"meshConfig", &policy.HoldFault{Behind: true, Reason: "late"}, "", "", inject.LackMeshConfigBehind},
		"behind for others":                {"meshConfig", &policy.HoldFault{Behind: true, Reason: "late", Holds: hosts("reviews.shop.svc.cluster.local")}, "", "meshConfig", ""},
		"meshConfig beside subset":         {"meshConfig, subset", nil, "", "meshConfig", ""},
		"broken, subset holds":             {"meshConfig, subset", broken(), "companion rule+companion route", "subset", ""},
		"broken, no companions":            {"meshConfig, subset", broken(), "", "", inject.LackMeshConfigBroken + " " + inject.LackCompanion + " " + inject.LackRoute},
		"companions":                       {"subset", nil, "companion rule+companion route", "subset", ""},
		"no companions":                    {"subset", nil, "", "", inject.LackCompanion + " " + inject.LackRoute},
		"no route":                         {"subset", nil, "companion rule", "", inject.LackRoute},
		"names taken":                      {"subset", nil, "taken rule+taken route", "", inject.LackCompanionName + " " + inject.LackCompanionName},
		"name taken, user's rule":          {"subset", nil, "taken rule+user's rule+companion route", "subset", ""},
		"user's rule":                      {"subset", nil, "user's rule+companion route", "subset", ""},
		"user's rule lacks the subset":     {"subset", nil, "user's rule, bare+companion route", "", inject.LackSubset},
		"user's rule is for some":          {"subset", nil, "user's rule for some+companion route", "", inject.LackCompanion},
		"user's rule is a wildcard's":      {"subset", nil, "user's rule, of a wildcard+companion route", "", inject.LackCompanion},
		"user's route":                     {"subset", nil, "companion rule+user's route", "subset", ""},
		"user's route lacks the subset":    {"subset", nil, "companion rule+user's route, bare", "", inject.LackRouteSubset},
		"user's route is of a gateway":     {"subset", nil, "companion rule+user's route, of a gateway", "", inject.LackRoute},
		"user's route is for one of many":  {"subset", nil, "companion rule+user's route, private", "", inject.LackRoute},
		"locality":                         {listed, nil, "companion with distribute", "locality", ""},
		"locality, no companion":           {listed, nil, "", "", inject.LackCompanion},
		"locality, name taken":             {listed, nil, "taken rule", "", inject.LackCompanionName},
		"locality, rule of a user":         {listed, nil, "user's rule, bare", "", inject.LackDistribute},
		"locality, not exported":           {listed, nil, "private rule", "", inject.LackRuleExport},
		"locality, blocked":                {listed, nil, "blocked rule", "", inject.LackDistribute},
		"localities unknown":               {"locality", nil, "companion with distribute", "", inject.LackLocalities},
		"localities unknown, subset holds": {"locality, subset", nil, "companion rule+companion route", "subset", ""},
		"subset beside locality":           {"subset, " + listed, nil, "companion rule+companion route", "", inject.LackDistribute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list, rest, _ := strings.Cut(test.holds, "\n")
			config := parse(t, "controlPlane: {clusters: [m1c1]}\nholds: ["+list+"]\n"+rest+"\nscope: {namespaces: [{name: shop, fence: strict}]}\n")
			index := policy.NewIndex(config.WithMeshConfigFault(test.fault))
			for part := range strings.SplitSeq(test.objects, "+") {
				if o, ok := heldObjects()[part]; ok {
					object, err := object.Decode(o.kind, fmt.Appendf(nil, `{"metadata": {"namespace": "shop", %s}, "spec": %s}`, o.metadata, o.spec))
					if err != nil {
						t.Fatal(err)
					}
					index.SetObject(object)
				} else if part != "" {
					t.Fatalf("no object %q", part)
				}
			}
			held, lacks := inject.Held(reviews, index.View())
			var reasons []string
			for i, l := range lacks {
				if i == 0 || l.Reason != lacks[i-1].Reason || l.Reason == inject.LackCompanionName {
					reasons = append(reasons, l.Reason)
				}
				if l.Message == "" {
					t.Errorf("%s must have a message", l.Reason)
				}
			}
			if diff := cmp.Diff([]string{test.held, test.lacks}, []string{held.String(), strings.Join(reasons, " ")}); diff != "" {
				t.Errorf("held and lacks (-want +got):\n%s\n%v", diff, lacks)
			}
		})
	}
}
