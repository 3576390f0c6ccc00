package testbed

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Memory is how much a replica has held at most, and may.
type Memory struct {
	Peak, Limit int64
	// Without says why no cgroup holds the replica to the limit, and counts: then it only goes by the limit, as it would
	// in one, and its resident set counts.
	Without error
}

// memory bounds that of a replica. The zero value bounds nothing.
type memory struct {
	limit int64
	group *memoryGroup
	// without says why there is no group.
	without error
}

// newMemory returns what bounds a process as the limit of the Pod's container would.
func newMemory(pod *corev1.Pod) (memory, error) {
	limit := pod.Spec.Containers[0].Resources.Limits.Memory().Value()
	if limit == 0 {
		return memory{}, fmt.Errorf("pod %s: the container has no memory limit", pod.Name)
	}
	group, err := newMemoryGroup("meshfence-testbed-"+pod.Name, limit)
	return memory{limit, group, err}, nil
}

// limited returns a command that starts within the bounds.
func (m memory) limited(c Command) Command {
	switch {
	case m.group != nil:
		c.Path, c.Args = m.group.wrap(c.Path, c.Args)
	case m.limit > 0:
		c.Env = append(c.Env, fmt.Sprintf("GOMEMLIMIT=%d", m.limit/10*9)) // as serve takes of a limit that it finds
	}
	return c
}

// release takes the cgroup away once its processes have ended.
func (m memory) release() {
	if m.group != nil {
		_ = m.group.remove() // an empty cgroup that stays holds nothing
	}
}

// Memory returns what a replica of an installation with LimitMemory has held since it started.
func (m *Meshfence) Memory(i int) (Memory, error) {
	r := m.all()[i]
	held := Memory{Limit: r.memory.limit, Without: r.memory.without}
	var err error
	if r.memory.group != nil {
		held.Peak, err = r.memory.group.held()
		return held, err
	}
	held.Peak, err = ResidentPeak(r.process.Load().cmd.Process.Pid)
	return held, err
}

// ResidentPeak returns the most that a running process has had resident.
func ResidentPeak(pid int) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kilobytes, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return kilobytes << 10, err
		}
	}
	return 0, fmt.Errorf("no VmHWM of process %d", pid)
}
