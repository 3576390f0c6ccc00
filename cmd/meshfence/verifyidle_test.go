package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/xds"
)

// A note says what keeps prefer from doing anything for a host that is answered elsewhere, and only then.
func TestVerifyNotesIdleRules(t *testing.T) {
	t.Parallel()
	const (
		host = "reviews.shop.svc.cluster.local"
		away = `{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: away, namespace: shop}, spec: {host: reviews, ` +
			`trafficPolicy: {loadBalancer: {localityLbSetting: {distribute: [{from: r1/*, to: {r2/*: 100}}]}}}}}`
		plain = `{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: away, namespace: shop}, spec: {host: reviews}}`
	)
	for name, test := range map[string]struct {
		rule   string
		result xds.Result
		want   []string
	}{
		"led away":    {away, xds.Elsewhere, []string{"DestinationRule shop/away: spec.trafficPolicy.loadBalancer.localityLbSetting.distribute"}},
		"failed over": {plain, xds.Elsewhere, nil},
		"held":        {away, xds.Held, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, w := verifyWorld(t, strings.Replace(verifyBase, "fence: strict", "fence: prefer", 1)+test.rule)
			reports := []xds.Report{{Host: host, Fence: "prefer", Result: test.result}}
			w.noteIdle(reports)
			var got []string
			for _, note := range reports[0].Notes {
				at, _, _ := strings.Cut(note, ": must")
				got = append(got, at)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("notes (-want +got):\n%s", diff)
			}
		})
	}
}
