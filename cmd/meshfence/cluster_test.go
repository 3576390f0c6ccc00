package main

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/meshfence/meshfence/cluster"
)

// What a replica would start with is what audit and explain go by.
func TestReadConfigFallsBack(t *testing.T) {
	t.Parallel()
	kept := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "meshfence-system", Name: cluster.LastGoodName},
		Data:       map[string]string{"config.yaml": servedConfig},
	}
	f := clusterFlags{installNamespace: "meshfence-system"}
	config, err := f.readConfig(t.Context(), fake.NewClientBuilder().WithObjects(kept).Build())
	if err != nil || config.Clusters[0] != "m1c1" {
		t.Errorf("config %v, error %v", config, err)
	}
}
