package e2e_test

import (
	"testing"

	"github.com/meshfence/meshfence/test/testbed"
)

func TestMain(m *testing.M) {
	testbed.Main(m, append(testbed.CertManagerTools(), testbed.ToolMeshfence)...)
}
