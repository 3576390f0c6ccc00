package admit_test

import (
	"fmt"
	"time"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/admit"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
)

// One object in, one decision out: this is what the webhook, check and the audit call.
func Example() {
	config, err := policy.ParseConfig(policy.Source{File: "fenceconfig.yaml"}, []byte(`
apiVersion: config.meshfence.io/v1alpha1
kind: FenceConfig
controlPlane: {clusters: [m1c1]}
holds: [meshConfig]
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	index := policy.NewIndex(config)
	index.SetNamespace("shop", nil)
	index.SetService(hostname.Host{Namespace: "shop", Name: "reviews"}, map[string]string{policy.FenceKey: "strict"})

	mirror := admit.Request{Kind: object.KindVirtualService, Namespace: "shop", Raw: []byte(`{
		"metadata": {"name": "reviews", "namespace": "shop"},
		"spec": {"hosts": ["reviews"], "http": [{"mirror": {"host": "elsewhere.example.com"}, "route": [{"destination": {"host": "reviews"}}]}]}}`)}
	admitted, err := admit.Admit(mirror, leak.NewGuard(leak.Rules()), index, nil, time.Now())
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, finding := range admitted.Denied {
		fmt.Println(finding.Rule, finding.Path)
	}
	// Output: virtualservice-mirror spec.http[0].mirror.host
}
