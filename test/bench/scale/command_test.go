package scale_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"github.com/meshfence/meshfence/test/testbed"
)

// measured is what a command has printed, and what it took.
type measured struct {
	stdout          []byte
	took, processor time.Duration
	peak            int64
}

// String says what it took.
func (m measured) String() string {
	return fmt.Sprintf("%s, %s of the processor, %d MiB at most", m.took.Round(time.Millisecond), m.processor.Round(time.Millisecond), m.peak>>20)
}

// measure runs meshfence. That it finds something is no error.
func measure(ctx context.Context, arguments ...string) (measured, error) {
	path, err := testbed.Tool(testbed.ToolMeshfence)
	if err != nil {
		return measured{}, err
	}
	var stdout, stderr bytes.Buffer
	command := exec.CommandContext(ctx, path, arguments...)
	command.Stdout, command.Stderr = &stdout, &stderr
	began := time.Now()
	if err := command.Start(); err != nil {
		return measured{}, err
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	var m measured
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for running := true; running; {
		select {
		case err = <-ended:
			running = false
		case <-look.C:
			if peak, err := testbed.ResidentPeak(command.Process.Pid); err == nil {
				m.peak = peak
			}
		}
	}
	m.stdout, m.took, m.processor = stdout.Bytes(), time.Since(began), command.ProcessState.UserTime()+command.ProcessState.SystemTime()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == 1 {
		return m, nil
	}
	if err != nil {
		return m, fmt.Errorf("%s: %w\n%s", arguments[0], err, stderr.String())
	}
	return m, nil
}
