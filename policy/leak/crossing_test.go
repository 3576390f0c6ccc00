package leak_test

import (
	"testing"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
)

// TestCrossingSelectors: a ServiceEntry that is bound to choose Pods of a strict Service is refused, and one that
// shares but a label with it is warned of.
func TestCrossingSelectors(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		selector map[string]string
		want     leak.Severity
	}{
		"the same":          {map[string]string{"app": "reviews", "tier": "web"}, leak.Deny},
		"wider":             {map[string]string{"app": "reviews"}, leak.Deny},
		"narrower":          {map[string]string{"app": "reviews", "tier": "web", "version": "v1"}, leak.Deny},
		"everything":        {nil, leak.Deny},
		"crossing":          {map[string]string{"app": "reviews", "version": "v1"}, leak.Warn},
		"another value":     {map[string]string{"app": "reviews", "tier": "db"}, ""},
		"nothing in common": {map[string]string{"version": "v1"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			index := indexWith(t, policy.HoldsOf(policy.MeshConfig), "{default: strict}")
			h := hostname.Host{Namespace: "shop", Name: "reviews"}
			index.SetService(h, nil)
			index.SetServiceSpec(h, object.ServiceSpec{Selector: map[string]string{"app": "reviews", "tier": "web"}})
			entry := &object.Object{
				Kind: object.KindServiceEntry, Metadata: object.Metadata{Namespace: "shop", Name: "it"},
				ServiceEntry: &object.ServiceEntry{Hosts: []string{"a.example.com"}, WorkloadSelector: &object.WorkloadSelector{Labels: test.selector}},
			}
			var got leak.Severity
			for _, f := range leak.NewGuard(leak.Rules()).Check(entry, index.View()) {
				got = f.Severity
			}
			if got != test.want {
				t.Errorf("severity %q, want %q", got, test.want)
			}
		})
	}
}
