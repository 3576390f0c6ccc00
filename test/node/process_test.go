package node_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// process is the folder in /proc of a process on the Node.
type process string

// processOf returns the process of a Pod.
func processOf(t *testing.T, pod corev1.Pod) process {
	t.Helper()
	names, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		p := process(filepath.Dir(name))
		// A process that has ended since has no files any more.
		command, err := os.ReadFile(name)
		if err == nil && strings.HasPrefix(string(command), "/meshfence\x00serve\x00") && strings.Contains(p.read(t, "cgroup"), string(pod.UID)) {
			return p
		}
	}
	t.Fatalf("%s has no process", pod.Name)
	return ""
}

func (p process) read(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(string(p), file))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func (p process) signal(t *testing.T, signal syscall.Signal) {
	t.Helper()
	pid, err := strconv.Atoi(filepath.Base(string(p)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, signal); err != nil {
		t.Fatal(err)
	}
}

// memory returns what a file of the cgroup that bounds the memory of the process says.
func (p process) memory(t *testing.T, file string) int64 {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(p.memoryGroup(t), file))
	if err != nil {
		t.Fatal(err)
	}
	value, err := strconv.ParseInt(strings.TrimSpace(string(content)), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func (p process) memoryGroup(t *testing.T) string {
	t.Helper()
	for line := range strings.Lines(p.read(t, "cgroup")) {
		if _, path, ok := strings.Cut(strings.TrimSpace(line), ":memory:"); ok {
			return "/sys/fs/cgroup/memory" + path
		}
	}
	t.Fatal("no memory cgroup")
	return ""
}

// exhaust has another process in the cgroup take all of the memory that the container may have. The kernel ends one of
// both, by their size and by what kubelet has set.
func (p process) exhaust(t *testing.T) {
	t.Helper()
	const script = `echo 0 >"$0/cgroup.procs" && exec tail /dev/zero`
	if err := exec.CommandContext(t.Context(), "/bin/sh", "-c", script, p.memoryGroup(t)).Run(); err == nil {
		t.Fatal("it has got all the memory that it wanted")
	}
}

// confined: the process is the user and group of the image, has no capability and can gain none, calls the kernel through
// a filter, cannot write its root, and has the memory limit of its container.
func (p process) confined(t *testing.T, pod corev1.Pod) {
	t.Helper()
	status := p.read(t, "status")
	for _, want := range []string{
		"\nUid:\t65532\t65532\t65532\t65532\n", "\nGid:\t65532\t65532\t65532\t65532\n", "\nGroups:\t65532 \n",
		"\nCapInh:\t0000000000000000\n", "\nCapPrm:\t0000000000000000\n", "\nCapEff:\t0000000000000000\n",
		"\nCapBnd:\t0000000000000000\n", "\nCapAmb:\t0000000000000000\n", "\nNoNewPrivs:\t1\n", "\nSeccomp:\t2\n",
	} {
		if !strings.Contains(status, want) {
			t.Errorf("%s: want %q in\n%s", pod.Name, want, status)
		}
	}
	if err := os.WriteFile(filepath.Join(string(p), "root", "file"), nil, 0o600); !errors.Is(err, syscall.EROFS) {
		t.Errorf("%s: write to the root: want that it is read-only, got %v", pod.Name, err)
	}
	want := pod.Spec.Containers[0].Resources.Limits.Memory().Value()
	if got := p.memory(t, "memory.limit_in_bytes"); got != want || want == 0 {
		t.Errorf("%s: the memory limit is %d, want %d", pod.Name, got, want)
	}
}
