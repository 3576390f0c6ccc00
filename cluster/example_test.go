package cluster_test

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/meshfence/meshfence/cluster"
	"github.com/meshfence/meshfence/policy"
)

// What a cluster says of its Services goes into an index, which answers from then on. A command reads once, as here; a
// replica sets up informers that keep the two equal.
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
	reader := fake.NewClientBuilder().WithObjects(
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: map[string]string{policy.FenceKey: "prefer"}}},
		&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "reviews", Annotations: map[string]string{policy.FenceKey: "strict"}}},
		&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "ratings"}},
	).Build()
	if err := cluster.ReadScope(context.Background(), reader, index); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(index.Count())
	// Output: map[none:0 prefer:1 strict:1]
}
