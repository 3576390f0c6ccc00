package conformance_test

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/meshfence/meshfence/test/testbed"
)

func TestMain(m *testing.M) {
	// A case waits for istiod most of the time: many of them go together, unless the command line says otherwise.
	if err := flag.Set("test.parallel", "12"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	testbed.Main(m, testbed.ToolIstiod, testbed.ToolMeshfence)
}
