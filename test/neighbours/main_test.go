package neighbours_test

import (
	"testing"

	"github.com/go-logr/logr"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/meshfence/meshfence/test/testbed"
)

func TestMain(m *testing.M) {
	logf.SetLogger(logr.Discard()) // of the tools
	testbed.Main(m, testbed.ToolMeshfence, "flagger", "flagger-crds")
}
