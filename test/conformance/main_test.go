package conformance_test

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/meshfence/meshfence/test/testbed"
)

func TestMain(m *testing.M) {
	// A case waits for istiod most of the time: many of them go together, unless the command line says otherwise. With 12
	// istiod is late for some where other packages have the cores too.
	if err := flag.Set("test.parallel", "8"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	testbed.Main(m, testbed.ToolIstiod, testbed.ToolMeshfence)
}
