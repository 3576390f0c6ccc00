package search_test

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/meshfence/meshfence/test/search"
)

var (
	searchTime = flag.Duration("time", 0, "how long to search; not at all unless set")
	seed       = flag.Uint64("seed", 1, "the seed of the worlds")
	first      = flag.Int("first", 0, "the number of the first base")
	bases      = flag.Int("bases", 0, "how many bases to go through; as many as fit into the time unless set")
	trials     = flag.Float64("trials", 0.1, "the share of what is refused or warned of that is tried alone")
	out        = flag.String("out", "", "the folder that findings are written into")
)

// TestSearch searches for as long as it is told.
func TestSearch(t *testing.T) {
	if *searchTime == 0 && *bases == 0 {
		t.Skip("make search sets -time")
	}
	ctx, stop := signal.NotifyContext(t.Context(), os.Interrupt, syscall.SIGTERM) // and say what there is so far
	defer stop()
	n := 0
	report := search.Run(search.Options{
		Seed: *seed, First: *first, Worlds: *bases, Time: *searchTime, Temp: t.TempDir, Trials: *trials, Stop: ctx.Done(),
		Log: func(line string) { fmt.Println(line) },
		Found: func(f search.Found) {
			n++
			fmt.Printf("%s\n----\n", f.Text())
			if *out == "" {
				return
			}
			kind := "leak"
			if f.Rule != "" {
				kind = "harmless-" + f.Rule
			}
			name := fmt.Sprintf("%s-%d-%d-%d.yaml", kind, f.Seed, f.Base, n)
			keep(t, name, f.Text())
			if f.Rule == "" {
				text, err := f.Case()
				if err != nil {
					t.Error(err)
				}
				keep(t, "case-"+name, text)
			}
		},
	})
	t.Log(report)
	if len(report.Leaks) > 0 {
		t.Errorf("%d shapes of leaks", len(report.Leaks))
	}
}

func keep(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(*out, name), []byte(text), 0o644); err != nil {
		t.Error(err)
	}
}
