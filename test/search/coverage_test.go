package search_test

import (
	"strings"
	"testing"

	"github.com/meshfence/meshfence/test/search"
)

// Pairs of fields count within one object, not within one world.
func TestCoverageOfPairs(t *testing.T) {
	t.Parallel()
	coverage := search.NewCoverage()
	coverage.Add([]search.Step{
		step(t, `{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {namespace: shop, name: a}, spec: {egress: [{hosts: [./*], bind: 10.0.0.1}]}}`),
		step(t, `{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {namespace: shop, name: b}, spec: {egress: [{hosts: [./*], captureMode: NONE}]}}`),
		step(t, `{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {namespace: shop, name: c}, spec: {egress: [{}]}}`), // no field of its own
	})
	want := "Sidecar, pairs of fields never in one object, 1 of 3: spec.egress.bind with spec.egress.captureMode;"
	if got := coverage.String(); !strings.Contains(got, want+"\n") {
		t.Errorf("got %s, want %s", got, want)
	}
}
