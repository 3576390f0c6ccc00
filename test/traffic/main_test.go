package traffic_test

import (
	"flag"
	"testing"

	"github.com/meshfence/meshfence/test/testbed"
)

func TestMain(m *testing.M) {
	flag.Parse()
	tools := []string{testbed.ToolIstiod, testbed.ToolMeshfence}
	if *withEnvoy {
		tools = append(tools, testbed.ToolEnvoy)
	}
	testbed.Main(m, tools...)
}
