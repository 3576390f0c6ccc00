package webhook_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/policy/admit"
)

// TestProbe: both paths answer the probe, which is a dry run, also before the index holds the cluster, and nothing else.
func TestProbe(t *testing.T) {
	t.Parallel()
	const probe = "apiVersion: v1\nkind: Service\nmetadata: {name: kubernetes, namespace: default, annotations: {meshfence.io/probe: asked}}\n"
	for name, test := range map[string]struct {
		object string
		dryRun bool
		synced bool
		want   bool
	}{
		"the probe":              {probe, true, true, true},
		"before all is read":     {probe, true, false, true},
		"no dry run":             {probe, false, true, false},
		"no annotation":          {"apiVersion: v1\nkind: Service\nmetadata: {name: kubernetes, namespace: default}\n", true, true, false},
		"another Service":        {"apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: default, annotations: {meshfence.io/probe: asked}}\n", true, true, false},
		"a Service of that name": {"apiVersion: v1\nkind: Service\nmetadata: {name: kubernetes, namespace: shop, annotations: {meshfence.io/probe: asked}}\n", true, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := serve(t, fenced)
			c.synced = test.synced
			for _, path := range []string{admit.MutatePath, admit.ValidatePath} {
				r := request(t, test.object, test.object)
				r.DryRun = &test.dryRun
				response := c.ask(t, path, r)
				answer := admit.ProbeAnswer(install, path)
				if got := slices.Contains(response.Warnings, answer); got != test.want || test.want && !response.Allowed {
					t.Errorf("%s: answered %t, want %t; allowed %t, warnings %q", path, got, test.want, response.Allowed, response.Warnings)
				}
				if test.want {
					if diff := cmp.Diff([]string{answer}, response.Warnings); diff != "" || len(response.Patch) > 0 {
						t.Errorf("%s: patch %s, warnings (-want +got):\n%s", path, response.Patch, diff)
					}
				}
			}
		})
	}
}
