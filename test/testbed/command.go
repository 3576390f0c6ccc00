package testbed

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"slices"
)

// runInstall starts meshfence install, which ends once the replicas are available, and returns what waits for that.
func (m *Meshfence) runInstall(ctx context.Context, args []string) (wait func() error, err error) {
	var output bytes.Buffer
	args = slices.Concat([]string{"install", "--apply", "--kubeconfig=" + m.cluster.Kubeconfig, "--install-namespace=" + m.namespace}, args)
	command := exec.CommandContext(ctx, m.path, args...)
	command.Stdout, command.Stderr = &output, &output
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("start meshfence install: %w", err)
	}
	return func() error {
		if err := command.Wait(); err != nil {
			return fmt.Errorf("meshfence install: %w\n%s", err, output.String())
		}
		return nil
	}, nil
}
