package testbed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// readyWithin bounds how long a process may take to become ready on a busy machine.
const readyWithin = 90 * time.Second

// logTail is how many lines of a log an error shows.
const logTail = 30

// Command describes a process of the test bed.
type Command struct {
	// Name names the process in errors and its log.
	Name string
	// Path and Args are the program and its arguments.
	Path string
	Args []string
	// Env is added to the environment of the test bed.
	Env []string
	// Dir is the folder for the log, <Name>.log.
	Dir string
	// Ready is polled until it returns nil. Without it a process is ready as soon as it runs.
	Ready func(context.Context) error
}

// Process is a running program whose output goes to a log.
type Process struct {
	command Command
	log     string
	cmd     *exec.Cmd
	done    chan struct{}
	err     error // the result of Wait, set before done is closed
}

// StartProcess starts a program and waits until it is ready. It runs until Stop, or until ctx ends. The error of a
// program that does not become ready contains the end of its log.
func StartProcess(ctx context.Context, c Command) (*Process, error) {
	log, err := os.OpenFile(filepath.Join(c.Dir, c.Name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Name, err)
	}
	defer log.Close()

	p := &Process{command: c, log: log.Name(), cmd: exec.CommandContext(ctx, c.Path, c.Args...), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), c.Env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	// A process group of its own keeps the terminal's interrupt away: the test bed decides when a process stops.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Name, err)
	}
	alive, ended := context.WithCancelCause(ctx)
	go func() {
		p.err = p.cmd.Wait()
		ended(fmt.Errorf("the process ended: %v", p.cmd.ProcessState))
		close(p.done)
	}()
	if c.Ready == nil {
		return p, nil
	}
	if err := Eventually(alive, readyWithin, c.Ready); err != nil {
		p.Stop(0)
		return nil, fmt.Errorf("start %s: %w\n%s", c.Name, err, p.Log(logTail))
	}
	return p, nil
}

// Stop ends the process: by SIGTERM and, when that has not ended it after grace, or where grace is zero, by SIGKILL.
// It returns when the process is gone. Stopping twice does nothing.
func (p *Process) Stop(grace time.Duration) {
	if grace > 0 {
		_ = p.cmd.Process.Signal(syscall.SIGTERM) // the only error is that it has ended
		select {
		case <-p.done:
		case <-time.After(grace):
		}
	}
	_ = p.cmd.Process.Kill() // as above
	<-p.done
}

// Done is closed when the process has ended, for whatever reason.
func (p *Process) Done() <-chan struct{} {
	return p.done
}

// Err returns how the process ended: nil while it runs and after exit code 0.
func (p *Process) Err() error {
	select {
	case <-p.done:
		return p.err
	default:
		return nil
	}
}

// Log returns the last lines of the log under a heading with the name of the process.
func (p *Process) Log(lines int) string {
	content, err := os.ReadFile(p.log)
	if err != nil {
		content = []byte(err.Error())
	}
	all := strings.Split(strings.TrimRight(string(content), "\n"), "\n")
	tail := all[max(0, len(all)-lines):]
	return fmt.Sprintf("--- %s, last %d lines of %d\n%s\n", p.command.Name, len(tail), len(all), strings.Join(tail, "\n"))
}

// Eventually calls condition every few milliseconds until it returns nil. When within has passed or ctx has ended, it
// returns the last error that condition had before that, and why it gave up.
func Eventually(ctx context.Context, within time.Duration, condition func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("not so within %s", within))
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	last := errors.New("the first attempt did not return")
	for {
		err := condition(ctx)
		if err == nil {
			return nil
		}
		// A call that was cut short says only that.
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), last)
		}
	}
}
