package main

import (
	"math"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/go-logr/logr"

	"github.com/meshfence/meshfence/webhook"
)

const (
	// memoryShare is how much of the memory that a container may have the Go runtime uses before it collects garbage as
	// hard as it can. The rest is for what it does not count.
	memoryShare = 0.9
	// bodyShare is how much of that limit is there for each byte of a body. The edit of a DestinationRule of 1.8 MB takes
	// 35 bytes for each of its own at its peak, measured with nine at once; the rest is for what a replica holds anyway.
	bodyShare = 64
)

// limitMemory has the garbage collector heed the limit of the container. GOMEMLIMIT in the environment counts instead.
func limitMemory(log logr.Logger) {
	limit, err := memlimit.Set(memlimit.WithRatio(memoryShare))
	if err != nil {
		log.Info("no limit of memory is known", "reason", err.Error())
		return
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
