package admit_test

import (
	"strings"
	"testing"
	"time"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/admit"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
)

// TestAdmit: what is created or changed is mutated, what is deleted and what admission does not take stays as it is.
func TestAdmit(t *testing.T) {
	t.Parallel()
	config, err := policy.ParseConfig(policy.Source{File: "test"},
		[]byte("{apiVersion: config.meshfence.io/v1alpha1, kind: FenceConfig, controlPlane: {clusters: [m1c1]}, holds: [meshConfig]}"))
	if err != nil {
		t.Fatal(err)
	}
	const strict = `{"metadata": {"name": "reviews", "namespace": "shop", "annotations": {"meshfence.io/fence": "strict"}}, "spec": {"selector": {"app": "reviews"}}}`
	for name, test := range map[string]struct {
		request admit.Request
		labels  bool
	}{
		"created":       {admit.Request{Kind: object.KindService, Namespace: "shop", Raw: []byte(strict)}, true},
		"changed":       {admit.Request{Kind: object.KindService, Namespace: "shop", Raw: []byte(strict), Old: []byte(strict)}, true},
		"deleted":       {admit.Request{Kind: object.KindService, Namespace: "shop", Raw: []byte(strict), Deleted: true}, false},
		"of no concern": {admit.Request{Kind: "Deployment", Namespace: "shop", Raw: []byte(strict)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			admitted, err := admit.Admit(test.request, leak.NewGuard(leak.Rules()), policy.NewIndex(config), nil, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			if got := string(admitted.Stored); strings.Contains(got, policy.FencedLabel) != test.labels || !test.labels && got != strict {
				t.Errorf("stored: %s", got)
			}
		})
	}
}
