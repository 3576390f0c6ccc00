package testbed

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of times in /proc, for every platform that Go runs on.
const tick = 10 * time.Millisecond

// ProcessorTime returns how much time of the processor the process has had so far.
func (p *Process) ProcessorTime() (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	// The name of the program comes in parentheses and may hold anything; utime and stime are fields 14 and 15.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	var total time.Duration
	for _, field := range fields[11:13] {
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		total += time.Duration(ticks) * tick
	}
	return total, nil
}

// ProcessorTime returns how much time of the processor the API server and etcd have had so far.
func (c *Cluster) ProcessorTime() (time.Duration, error) {
	var total time.Duration
	for _, name := range []string{"kube-apiserver", "etcd"} {
		i, err := c.component(name)
		if err != nil {
			return 0, err
		}
		took, err := c.processes[i].ProcessorTime()
		if err != nil {
			return 0, err
		}
		total += took
	}
	return total, nil
}

// ProcessorTime returns how much time of the processor all replicas have had so far.
func (m *Meshfence) ProcessorTime() (time.Duration, error) {
	var total time.Duration
	for _, r := range m.replicas {
		took, err := r.process.Load().ProcessorTime()
		if err != nil {
			return 0, err
		}
		total += took
	}
	return total, nil
}
