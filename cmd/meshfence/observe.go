package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"regexp"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"k8s.io/klog/v2"

	"github.com/meshfence/meshfence/cluster"
)

// newLogs returns the handler of the log, one JSON object a line. Where that is the log of the process, what libraries say
// beside their logger goes there too, instead of as plain text.
func newLogs(to io.Writer, level slog.Level) slog.Handler {
	handler := patience{slog.NewJSONHandler(to, &slog.HandlerOptions{Level: level}), &cluster.Failures{}}
	if to == os.Stderr {
		slog.SetDefault(slog.New(handler)) // and package log
		klog.SetSlogLogger(slog.New(handler))
	}
	return handler
}

// dropNoise takes the counters of Go's debug settings out of a registry of controller-runtime (init in its
// pkg/internal/controller/metrics): dozens of series that are always 0.
func dropNoise(registry prometheus.Registerer) error {
	all := collectors.WithGoCollectorRuntimeMetrics(collectors.MetricsAll)
	registry.Unregister(collectors.NewGoCollector(all))
	if err := registry.Register(collectors.NewGoCollector(all, collectors.WithoutGoCollectorRuntimeMetrics(regexp.MustCompile("^/godebug/")))); err != nil {
		return fmt.Errorf("register the metrics of Go: %w", err)
	}
	return nil
}
