package main

import (
	"math"
	"os"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/go-logr/logr"

	"github.com/meshfence/meshfence/webhook"
)

const (
	// memoryShare is how much of the memory that a container may have the Go runtime uses before it collects garbage as
	// hard as it can. The rest is for what it does not count.
	memoryShare = 0.9
	// growth is by how many percent the heap grows over what is in use before it is collected, where memory is limited. What
	// is in use is mostly what the caches hold, and a request adds little to it: half of Go's default costs a few
	// collections more while the first lists come in, and takes a quarter off the peak.
	growth = 50
	// bodyShare is how much of that limit is there for each byte of a body. The edit of a DestinationRule of 1.8 MB takes
	// 35 bytes for each of its own at its peak, measured with nine at once; the rest is for what a replica holds anyway.
	bodyShare = 64
)

// limitMemory has the garbage collector heed the limit of the container. GOMEMLIMIT and GOGC in the environment count
// instead.
func limitMemory(log logr.Logger) {
	limit, err := memlimit.Set(memlimit.WithRatio(memoryShare))
	if err != nil {
		log.Info("no limit of memory is known", "reason", err.Error())
		return
	}
	if debug.SetMemoryLimit(-1) != math.MaxInt64 && os.Getenv("GOGC") == "" {
		debug.SetGCPercent(growth)
	}
	log.Info("memory", "limit", limit)
}

// bytesInFlight returns how much of bodies may be held at once under a limit of memory.
func bytesInFlight(limit int64) int64 {
	if limit == math.MaxInt64 {
		return 4 * webhook.DefaultBytesInFlight
	}
	return max(limit/bodyShare, webhook.DefaultBytesInFlight/4)
}
