package traffic_test

import (
	"testing"

	"github.com/meshfence/meshfence/test/testbed"
)

func TestMain(m *testing.M) { testbed.Main(m, testbed.ToolIstiod, testbed.ToolMeshfence) }
