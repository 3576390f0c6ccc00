// Package conformance_test holds docs/catalogue.md against istiod: every row that can be built leaks under a hold
// just where the catalogue says so, and the guard refuses it there and nothing else.
package conformance_test

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/test/testbed"
	"github.com/meshfence/meshfence/xds"
)

var (
	full = flag.Bool("full", false, "go through every hold, and not only through one")
	only = flag.String("rows", "", "the rows or cases to go through, such as B1,subset-without-cluster; all unless set")
)

// holds returns the holds that a run goes through.
func holds() []policy.Hold { return []policy.Hold{policy.MeshConfig, policy.Locality, policy.Subset} }

// TestConformance goes through every case with a guard, then without, under one hold after the other.
func TestConformance(t *testing.T) {
	results := &testbed.Matrix{}
	t.Cleanup(func() { t.Logf("\n%s", results) })
	cases := chosen(t)
	for _, hold := range holds() {
		if hold != policy.Subset && !*full {
			continue
		}
		t.Run(name(hold), func(t *testing.T) {
			for _, mesh := range slices.Sorted(maps.Keys(meshes())) {
				if mesh == "" || *full {
					through(t, hold, mesh, cases, results)
				}
			}
		})
	}
}

// through goes through the cases that need a kind of mesh, many at once.
func through(t *testing.T, hold policy.Hold, mesh string, cases []row, results *testbed.Matrix) {
	cases = slices.DeleteFunc(slices.Clone(cases), func(r row) bool { return r.Mesh != mesh })
	if len(cases) == 0 {
		return
	}
	t.Run("mesh with "+cmp.Or(mesh, "nothing special"), func(t *testing.T) {
		b := startBed(t, hold, meshes()[mesh])
		each := func(column string, run func(*testing.T, *scene) string) {
			t.Run(column, func(t *testing.T) {
				for _, r := range cases {
					t.Run(r.name, func(t *testing.T) {
						if !r.Alone { // those that are come before the others
							t.Parallel()
						}
						var shown string
						t.Cleanup(func() { results.Add(name(hold)+", "+column, r.name, shown, !t.Failed()) })
						shown = run(t, newScene(t, b, r))
					})
				}
			})
		}
		each("with guard", guarded)
		b.audit(t)
		each("without guard", unguarded)
	})
}

// chosen returns the cases that the command line asks for.
func chosen(t *testing.T) []row {
	t.Helper()
	cases := rows(t)
	for _, r := range cases {
		if _, ok := meshes()[r.Mesh]; !ok {
			t.Fatalf("%s: no kind of mesh is called %q", r.name, r.Mesh)
		}
	}
	if *only == "" {
		return cases
	}
	names := strings.Split(*only, ",")
	return slices.DeleteFunc(cases, func(r row) bool { return !slices.Contains(names, r.ID) && !slices.Contains(names, r.name) })
}

// unguarded returns what istiod shows of a case while the guard only counts: leaks or held, as the catalogue says.
func unguarded(t *testing.T, s *scene) string {
	done := s.apply(t.Context(), s.expand(t, s.Leak))
	if done.err != nil {
		t.Fatalf("the API server refuses without a guard: %v", done.err)
	}
	if s.Alone {
		defer s.undo(t, done)
	}
	s.claim()
	s.settle(t, done.stored)
	if s.leaks(s.hold) {
		s.expect(t, s.entry(), s.leaked(), xds.Leaks)
		return "leaks"
	}
	s.expect(t, s.entry(), s.leaked(), xds.Held, xds.Empty)
	return "held"
}

// guarded returns what the guard makes of a case: what leaks is refused or, where a rule only warns or nothing can be
// done, known; what does not is accepted and held, and so are its harmless neighbours.
func guarded(t *testing.T, s *scene) string {
	objects := s.expand(t, s.Leak)
	done := s.breach(t, objects)
	shown := s.judged(t, done)
	switch {
	case done.err == nil && !s.leaks(s.hold):
		s.claim()
		s.keeps(t, "accepted: "+s.entry(), s.leaked(), done.stored)
	case done.err != nil && s.AnyOrder:
		s.undo(t, done)
		slices.Reverse(objects)
		done = s.breach(t, objects)
		shown += ", in the other order " + s.judged(t, done)
	}
	s.undo(t, done)
	neighbour := s.put(t, s.expand(t, s.Neighbour), true)
	s.keeps(t, "the neighbour", s.host(), neighbour.stored)
	s.undo(t, neighbour)
	return shown
}

// entry says what the catalogue has on the row.
func (s *scene) entry() string {
	result := "held"
	if s.leaks(s.hold) {
		result = "leaks"
	}
	return fmt.Sprintf("%s by the catalogue (stopped by: %s; repaired by: %s)", result, s.Stops, s.Repairs)
}

// judged compares the answer to a leak with the rules that cover its row.
func (s *scene) judged(t *testing.T, done change) string {
	t.Helper()
	answer := fmt.Sprintf("accepted, with warnings %q", done.warnings)
	if done.err != nil {
		answer = "refused: " + done.err.Error()
	}
	rules := s.rules()
	for _, rule := range rules {
		switch {
		case rule.Stops().Has(s.hold): // it has nothing to say
		case done.err != nil && rule.Severity == leak.Deny && mentions(done.err.Error(), rule.ID):
			return "refused by " + rule.ID
		case done.err == nil && rule.Severity == leak.Warn && slices.ContainsFunc(done.warnings, func(text string) bool {
			return mentions(text, rule.ID)
		}):
			return "warning of " + rule.ID
		}
	}
	switch {
	case done.err != nil || s.leaks(s.hold) && (len(rules) > 0 || s.Reason == ""):
	case s.leaks(s.hold):
		return "open"
	case done.changed:
		return "changed"
	default:
		return "accepted"
	}
	t.Fatalf("rules %q judge it, being %s; it is %s", leak.IDs(rules), s.entry(), answer)
	return ""
}

// mentions reports whether a message of meshfence is that of a rule.
func mentions(message, rule string) bool { return strings.Contains(message, "["+rule+"]") }
