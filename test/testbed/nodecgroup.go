package testbed

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// hierarchy is a line of /proc/<pid>/cgroup: the controllers of a hierarchy, and the cgroup of the process in it.
type hierarchy struct{ controllers, path string }

// hierarchies reads /proc/<pid>/cgroup.
func hierarchies(content string) []hierarchy {
	var all []hierarchy
	for line := range strings.Lines(content) {
		if fields := strings.SplitN(strings.TrimSpace(line), ":", 3); len(fields) == 3 {
			all = append(all, hierarchy{fields[1], fields[2]})
		}
	}
	return all
}

// name is the folder of the hierarchy below /sys/fs/cgroup.
func (h hierarchy) name() string {
	if h.controllers == "" {
		return "unified"
	}
	return strings.TrimPrefix(h.controllers, "name=")
}

// cgroups are cgroups of the test bed, each below one that this process was in, so that the limits there stay.
type cgroups []string

// enterCgroups makes a cgroup in each hierarchy and moves this process there.
func enterCgroups() (cgroups, error) {
	content, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	var groups cgroups
	for _, h := range hierarchies(string(content)) {
		group := filepath.Join("/sys/fs/cgroup", h.name(), h.path, fmt.Sprintf("meshfence-node-%d", os.Getpid()))
		if err := os.Mkdir(group, 0o755); err != nil {
			return groups, err
		}
		groups = append(groups, group)
		if err := errors.Join(inheritCPUs(group), enter(group)); err != nil {
			return groups, err
		}
	}
	return groups, nil
}

// inheritCPUs lets a cgroup of a cpuset hierarchy run where the one above may: of itself it may nowhere.
func inheritCPUs(group string) error {
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		content, err := os.ReadFile(filepath.Join(filepath.Dir(group), name))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(group, name), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// enter moves this process to a cgroup.
func enter(group string) error {
	return os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0o600)
}

// leave moves this process back, and removes the cgroups with all that are in them, once their processes have ended.
func (groups cgroups) leave() error {
	var errs []error
	for _, group := range groups {
		errs = append(errs, enter(filepath.Dir(group)), removeCgroup(group))
	}
	return errors.Join(errs...)
}

func removeCgroup(group string) error {
	var err error
	for range 50 {
		if err = removeEmpty(group); err == nil {
			return nil
		}
		time.Sleep(200 * time.Millisecond)
	}
	return err
}

// removeEmpty removes a cgroup and those below it. Their files go with them.
func removeEmpty(group string) error {
	var dirs []string
	err := filepath.WalkDir(group, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	})
	for _, dir := range slices.Backward(dirs) {
		err = errors.Join(err, os.Remove(dir))
	}
	return err
}
