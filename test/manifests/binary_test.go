package manifests_test

import (
	"bytes"
	"os/exec"
	"testing"

	"github.com/meshfence/meshfence/test/testbed"
)

// TestDeadCodeIsLeftOut: what calls methods by names that only exist at run time, as templates and plugins do, keeps every
// exported method in the binary, which then is nearly twice as large.
func TestDeadCodeIsLeftOut(t *testing.T) {
	t.Parallel()
	binary, err := testbed.Tool(testbed.ToolMeshfence)
	if err != nil {
		t.Fatal(err)
	}
	symbols, err := exec.CommandContext(t.Context(), "go", "tool", "nm", binary).Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{" text/template.(*state).evalField", " plugin.Open"} {
		if bytes.Contains(symbols, []byte(name)) {
			t.Errorf("the binary has%s", name)
		}
	}
	if !bytes.Contains(symbols, []byte(" main.main")) {
		t.Error("the binary has no symbols to look at")
	}
}
