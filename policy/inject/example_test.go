package inject_test

import (
	"fmt"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/object"
)

// Under hold subset a DestinationRule of a strict host gets a subset of this cluster.
func Example() {
	config, err := policy.ParseConfig(policy.Source{File: "fenceconfig.yaml"}, []byte(`
apiVersion: config.meshfence.io/v1alpha1
kind: FenceConfig
controlPlane: {clusters: [m1c1]}
holds: [subset]
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	index := policy.NewIndex(config)
	index.SetNamespace("shop", nil)
	index.SetService(hostname.Host{Namespace: "shop", Name: "reviews"}, map[string]string{policy.FenceKey: "strict"})
	plan := inject.Object(&object.Object{
		Kind:            object.KindDestinationRule,
		Metadata:        object.Metadata{Namespace: "shop", Name: "reviews"},
		DestinationRule: &object.DestinationRule{Host: "reviews"},
	}, index.View())
	for _, edit := range plan.Edits[:1] {
		fmt.Println(edit.Path, edit.Value)
	}
	// Output: spec.subsets.- map[labels:map[topology.istio.io/cluster:m1c1] name:meshfence-local]
}
