package testbed

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// memoryGroup is a cgroup that bounds the memory of the processes in it, as a kubelet's does for a container.
type memoryGroup struct {
	dir  string
	peak string // the file that tells the most that it has held
}

// newMemoryGroup makes a cgroup beside or below that of this process, whichever the machine allows: root may on one with
// the controllers of version 1, and on one of version 2 where an ancestor hands the memory controller on.
func newMemoryGroup(name string, limit int64) (*memoryGroup, error) {
	content, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	var errs []error
	for line := range strings.Lines(string(content)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		g, parents := memoryGroup{}, []string{}
		var bound string
		switch fields[1] {
		case "memory":
			g.peak, bound = "memory.max_usage_in_bytes", "memory.limit_in_bytes"
			parents = append(parents, filepath.Join("/sys/fs/cgroup/memory", fields[2]), "/sys/fs/cgroup/memory")
		case "":
			g.peak, bound = "memory.peak", "memory.max"
			parents = append(parents, filepath.Join("/sys/fs/cgroup", filepath.Dir(fields[2])), "/sys/fs/cgroup")
		}
		for _, parent := range parents {
			g.dir = filepath.Join(parent, name)
			err := g.create(bound, limit)
			if err == nil {
				return &g, nil
			}
			errs = append(errs, err)
		}
	}
	return nil, fmt.Errorf("make a memory cgroup: %w", errors.Join(errs...))
}

func (g *memoryGroup) create(bound string, limit int64) error {
	// One that an earlier run could not remove is empty.
	if err := os.Mkdir(g.dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	err := os.WriteFile(filepath.Join(g.dir, bound), []byte(strconv.FormatInt(limit, 10)), 0o600)
	if err != nil {
		return errors.Join(err, g.remove())
	}
	return nil
}

// wrap returns a command that enters the cgroup and then becomes the given one.
func (g *memoryGroup) wrap(path string, args []string) (string, []string) {
	return "/bin/sh", append([]string{"-c", `echo 0 >"$0" && exec "$@"`, filepath.Join(g.dir, "cgroup.procs"), path}, args...)
}

// held returns the most memory that the cgroup has held, caches of files included.
func (g *memoryGroup) held() (int64, error) {
	content, err := os.ReadFile(filepath.Join(g.dir, g.peak))
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(string(bytes.TrimSpace(content)), 10, 64)
}

// remove takes the cgroup away, in which no process may be left.
func (g *memoryGroup) remove() error { return os.Remove(g.dir) }
