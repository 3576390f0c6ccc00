package search_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/test/search"
)

// worldsOf prints the first worlds of a base.
func worldsOf(t *testing.T, seed uint64, n int) []string {
	t.Helper()
	var worlds []string
	err := search.Generate(seed, n, func(w search.World, _ search.Decided) bool {
		worlds = append(worlds, w.Base.String()+"\n"+w.YAML())
		return len(worlds) < 30
	})
	if err != nil {
		t.Fatal(err)
	}
	return worlds
}

// The same seed gives the same worlds, another one or another base gives others.
func TestGenerateIsDeterministic(t *testing.T) {
	t.Parallel()
	want := worldsOf(t, 1, 2)
	if diff := cmp.Diff(want, worldsOf(t, 1, 2)); diff != "" {
		t.Errorf("again (-want +got):\n%s", diff)
	}
	for name, other := range map[string][]string{"seed": worldsOf(t, 2, 2), "base": worldsOf(t, 1, 3)} {
		if cmp.Equal(want, other) {
			t.Errorf("another %s gives the same worlds", name)
		}
	}
}

// What is made up is accepted now and then, and refused now and then. Services ask for waypoints, and for a distribution of
// their traffic.
func TestGenerateIsDecided(t *testing.T) {
	t.Parallel()
	accepted, refused := 0, 0
	asked := map[string]bool{"istio.io/use-waypoint:": false, "trafficDistribution:": false}
	for n := range 3 {
		err := search.Generate(1, n, func(w search.World, d search.Decided) bool {
			for i, s := range w.Steps {
				for field := range asked {
					asked[field] = asked[field] || s.Object.Kind() == "Service" && strings.Contains(search.World{Steps: []search.Step{s}}.YAML(), field)
				}
				if d.Accepted(i) {
					accepted++
				} else if d.Invalid[i] == nil {
					refused++
				}
			}
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if accepted < 50 || refused < 10 {
		t.Errorf("%d accepted, %d refused", accepted, refused)
	}
	for field, set := range asked {
		if !set {
			t.Errorf("no Service has %s", field)
		}
	}
}
