package meshfence_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/meshfence/meshfence"
)

func TestIstioVersion(t *testing.T) {
	t.Parallel()
	version, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Version}}", "istio.io/api").Output()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := meshfence.IstioVersion(), strings.TrimSpace(strings.TrimPrefix(string(version), "v")); got != want || got == "" {
		t.Errorf("got %q, want %q", got, want)
	}
}
