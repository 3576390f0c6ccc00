package testbed

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// isolate is Run for Linux: the outer process builds the tools while it still has a network and starts the inner
// one, which prepares its namespaces and calls run.
func isolate(run func() int, tools []string) (int, error) {
	if b, err := current(); err == nil {
		if err := prepare(b); err != nil {
			return 0, fmt.Errorf("prepare the namespaces: %w%s", err, permissionHint())
		}
		return run(), nil
	}
	b, err := provide(tools)
	if err != nil {
		return 0, err
	}
	return reexec(b, startIsolated)
}

// reexec starts this binary again in namespaces of its own, hands signals on, and returns its exit code.
func reexec(b bed, start func(value string) (*exec.Cmd, error)) (int, error) {
	value, err := json.Marshal(b)
	if err != nil {
		return 0, err
	}
	// The kernel sends the parent death signal when the thread that forked ends, not the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)

	cmd, err := start(string(value))
	if err != nil {
		return 0, err
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			// An error means that the process has just ended, which the other case reports.
			_ = cmd.Process.Signal(s)
		case err := <-exited:
			if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
				return 0, err
			}
			return exitCode(cmd.ProcessState), nil
		}
	}
}

// startIsolated starts the inner process. Root gets a second try without a user namespace, which some containers
// refuse to those who have everything else.
func startIsolated(value string) (*exec.Cmd, error) {
	namespaces := uintptr(unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWNS)
	cmd := isolated(value, namespaces|unix.CLONE_NEWUSER)
	err := cmd.Start()
	if err != nil && os.Getuid() == 0 {
		cmd = isolated(value, namespaces)
		err = cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("create namespaces: %w%s", err, permissionHint())
	}
	return cmd, nil
}

func isolated(value string, namespaces uintptr) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), environment+"="+value)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: namespaces, Pdeathsig: syscall.SIGKILL}
	if namespaces&unix.CLONE_NEWUSER != 0 {
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	return cmd
}

// exitCode follows the shell: a process that a signal ended has 128 and its number.
func exitCode(state *os.ProcessState) int {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return state.ExitCode()
}

// prepare makes the new namespaces habitable: a tmpfs for state, the processes of this pid namespace alone in
// /proc, and the loopback interface up.
func prepare(b bed) error {
	if err := privateMounts(); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", b.State, "tmpfs", 0, "mode=0700"); err != nil {
		return fmt.Errorf("mount %s: %w", b.State, err)
	}
	// Containers that mask parts of /proc do not allow a new one. Only process metrics suffer from the old one.
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil && !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("mount /proc: %w", err)
	}
	return settle(b)
}

func privateMounts() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	return nil
}

// settle has temporary files in the state, and the loopback interface up.
func settle(b bed) error {
	tmp := filepath.Join(b.State, "tmp")
	if err := os.Mkdir(tmp, 0o700); err != nil {
		return err
	}
	if err := os.Setenv("TMPDIR", tmp); err != nil {
		return err
	}
	return loopbackUp()
}
