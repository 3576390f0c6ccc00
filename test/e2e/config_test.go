package e2e_test

import (
	"bytes"
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/meshfence/meshfence/test/testbed"
)

const badConfig = `apiVersion: config.meshfence.io/v1alpha1
kind: FenceConfig
controlPlane: {clusters: [m1c1, m1c2]}
holds: [subset]
scope: {default: strickt}
`

func TestBadConfigIsRefused(t *testing.T) {
	s := shared(t)
	err := s.meshfence.Configure(t.Context(), badConfig)
	if err == nil {
		t.Fatal("a bad config was accepted")
	}
	for _, want := range []string{`scope.default: "strickt" must be one of none, prefer, strict`, "line 5", "holds: must have meshConfig or locality beside subset"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the refusal lacks %q: %v", want, err)
		}
	}
}

// A bad config that got in while the webhook was down never replaces the good one, and keeps a new process
// from starting.
func TestBadConfigAtStart(t *testing.T) {
	s := shared(t)
	namespace := "elsewhere"
	s.kubectl(t, "", "create", "namespace", namespace)
	s.kubectl(t, badConfig, "create", "configmap", "meshfence", "-n", namespace, "--from-file=config.yaml=/dev/stdin")
	path, err := testbed.Tool(testbed.ToolMeshfence)
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	command := exec.CommandContext(t.Context(), path, "serve", "--kubeconfig", s.Kubeconfig, "--install-namespace", namespace,
		"--webhook-address=127.0.0.1:0", "--metrics-address=0", "--health-address=0")
	command.Stderr = &stderr
	err = command.Run()
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || exit.ExitCode() != 2 {
		t.Errorf("exit %v, want code 2\n%s", err, &stderr)
	}
	for _, want := range []string{"ConfigMap elsewhere/meshfence:5: scope.default", "holds: must have"} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("stderr lacks %q:\n%s", want, &stderr)
		}
	}
}
