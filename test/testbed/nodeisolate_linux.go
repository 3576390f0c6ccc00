package testbed

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// isolateNode is isolate for a real Node. It needs root, cgroups of its own, and a disk for the state.
func isolateNode(run func() int, tools []string) (int, error) {
	if b, err := current(); err == nil {
		if err := prepareNode(b); err != nil {
			return 0, fmt.Errorf("prepare the Node: %w", err)
		}
		return run(), nil
	}
	b, err := provide(tools)
	if err != nil {
		return 0, err
	}
	if b.State, err = os.MkdirTemp(filepath.Dir(b.State), "node-"); err != nil {
		return 0, err
	}
	groups, err := enterCgroups()
	if err != nil {
		return 0, errors.Join(err, groups.leave(), os.RemoveAll(b.State))
	}
	code, err := reexec(b, func(value string) (*exec.Cmd, error) {
		cmd := isolated(value, unix.CLONE_NEWNET|unix.CLONE_NEWPID|unix.CLONE_NEWNS|unix.CLONE_NEWCGROUP)
		return cmd, cmd.Start()
	})
	return code, errors.Join(err, groups.leave(), os.RemoveAll(b.State))
}

// prepareNode is prepare for a real Node, to which the machine's own folders and settings must not be seen.
func prepareNode(b bed) error {
	if err := privateMounts(); err != nil {
		return err
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := mountCgroups(); err != nil {
		return err
	}
	if err := pretendSettings(filepath.Join(b.State, "settings")); err != nil {
		return err
	}
	if err := bind(filepath.Join(b.State, "run"), "/run"); err != nil {
		return err
	}
	return settle(b)
}

// pretendSettings shows kubelet files that already hold what it would write for the whole machine
// (setupKernelTunables in pkg/kubelet/cm/container_manager_linux.go of Kubernetes).
func pretendSettings(dir string) error {
	for name, value := range map[string]string{
		"kernel/panic": "10", "kernel/panic_on_oops": "1", "kernel/keys/root_maxkeys": "1000000",
		"kernel/keys/root_maxbytes": "25000000", "vm/overcommit_memory": "1", "vm/panic_on_oom": "0",
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(value+"\n"), 0o600); err != nil {
			return err
		}
		if err := unix.Mount(file, filepath.Join("/proc/sys", name), "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount over %s: %w", name, err)
		}
	}
	return nil
}

// bind makes a folder and mounts it over another one.
func bind(dir, over string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if err := unix.Mount(dir, over, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s: %w", over, err)
	}
	return nil
}

// mountCgroups mounts the hierarchies as a Node sees them: the cgroup of this process is the root of each.
func mountCgroups() error {
	content, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return err
	}
	const root = "/sys/fs/cgroup"
	if err := unix.Mount("cgroup", root, "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount %s: %w", root, err)
	}
	for _, h := range hierarchies(string(content)) {
		if h.controllers == "" {
			continue
		}
		dir := filepath.Join(root, h.name())
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		options := h.controllers
		if strings.HasPrefix(options, "name=") {
			options = "none," + options
		}
		if err := unix.Mount("cgroup", dir, "cgroup", 0, options); err != nil {
			return fmt.Errorf("mount %s: %w", dir, err)
		}
	}
	return nil
}
