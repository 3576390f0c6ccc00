package manifests_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/meshfence/meshfence/test/testbed"
)

// patience is how long anything may take on a busy machine.
const patience = 30 * time.Second

const certManagerCRDs = "cert-manager-crds"

func TestMain(m *testing.M) {
	testbed.Main(m, testbed.ToolMeshfence, certManagerCRDs, imageTool, helmTool, sbomTool, testbed.ToolPrevious)
}

// overlays are all folders of manifests/overlays.
func overlays() []string { return []string{"self-signed", "cert-manager", "dev"} }

// start starts the cluster that the tests share. It lives as long as the test bed. The tests that use it do not run in
// parallel, because webhook configurations are for the whole cluster.
var start = sync.OnceValues(func() (*testbed.Cluster, error) {
	crds, err := testbed.Tool(certManagerCRDs)
	if err != nil {
		return nil, err
	}
	return testbed.Start(context.Background(), testbed.Options{CRDs: []string{crds}, Routes: true})
})

func shared(t *testing.T) (*testbed.Cluster, *kubernetes.Clientset) {
	t.Helper()
	cluster, err := start()
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(cluster.Config())
	if err != nil {
		t.Fatal(err)
	}
	return cluster, client
}

// eventually polls a condition of the cluster.
func eventually(t *testing.T, what string, condition func(context.Context) error) {
	t.Helper()
	if err := testbed.Eventually(t.Context(), patience, condition); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}
