package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
)

// version and revision are set where the build knows them and the module does not: -ldflags '-X main.version=v1.2.3'.
var (
	version  string
	revision string //nolint:gochecknoglobals // only the linker writes it
)

// build says what this binary was built from.
type build struct {
	// Version is that of the tag, or what Go makes of the commit; "unknown" outside of a repository.
	Version string `json:"version"`
	// Revision is the commit; -dirty follows where the tree was changed.
	Revision  string `json:"revision,omitempty"`
	GoVersion string `json:"goVersion"`
	Platform  string `json:"platform"`
}

// thisBuild returns what the linker and Go have written into this binary.
func thisBuild() build {
	b := build{Version: version, Revision: revision, GoVersion: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if ok {
		b.Version = cmp.Or(b.Version, strings.Trim(info.Main.Version, "()"))
		settings := map[string]string{}
		for _, s := range info.Settings {
			settings[s.Key] = s.Value
		}
		if settings["vcs.modified"] == "true" {
			settings["vcs.revision"] += "-dirty"
		}
		b.Revision = cmp.Or(b.Revision, settings["vcs.revision"])
	}
	b.Version = cmp.Or(b.Version, "unknown")
	return b
}

// String returns one line.
func (b build) String() string {
	if b.Revision == "" {
		return fmt.Sprintf("meshfence %s (%s, %s)", b.Version, b.GoVersion, b.Platform)
	}
	return fmt.Sprintf("meshfence %s (%s, %s, %s)", b.Version, b.Revision, b.GoVersion, b.Platform)
}

// userAgent is what the API server logs of requests.
func (b build) userAgent() string { return fmt.Sprintf("meshfence/%s (%s)", b.Version, b.Platform) }

// metric is meshfence_build_info, which is always 1.
func (b build) metric() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name:        "meshfence_build_info",
		Help:        "What the running binary was built from; always 1.",
		ConstLabels: prometheus.Labels{"version": b.Version, "revision": b.Revision, "goversion": b.GoVersion},
	}, func() float64 { return 1 })
}

func newVersion() *cobra.Command {
	var output string
	command := &cobra.Command{
		Use:   "version",
		Short: "Print what this binary was built from",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			switch output {
			case "text":
				_, err := fmt.Fprintln(command.OutOrStdout(), thisBuild())
				return err
			case "json":
				return encode(command.OutOrStdout(), thisBuild())
			}
			return fmt.Errorf("--output %q must be text or json", output)
		},
	}
	command.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return command
}
