package testbed

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of times in /proc, on every platform of Linux that Go runs on.
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

// Consumer is what has time of the processor.
type Consumer interface {
	ProcessorTime() (time.Duration, error)
}

// ProcessorTime returns how much time of the processor consumers have had so far, together.
func ProcessorTime(consumers ...Consumer) (time.Duration, error) {
	var total time.Duration
	for _, consumer := range consumers {
		had, err := consumer.ProcessorTime()
		if err != nil {
			return 0, err
		}
		total += had
	}
	return total, nil
}

// ProcessorTime returns how much time of the processor the API server and etcd have had so far.
func (c *Cluster) ProcessorTime() (time.Duration, error) {
	var consumers []Consumer
	for _, name := range []string{"kube-apiserver", "etcd"} {
		i, err := c.component(name)
		if err != nil {
			return 0, err
		}
		consumers = append(consumers, c.processes[i])
	}
	return ProcessorTime(consumers...)
}

// ProcessorTime returns how much time of the processor all replicas have had so far.
func (m *Meshfence) ProcessorTime() (time.Duration, error) {
	var consumers []Consumer
	for _, r := range m.all() {
		consumers = append(consumers, r.process.Load())
	}
	return ProcessorTime(consumers...)
}
