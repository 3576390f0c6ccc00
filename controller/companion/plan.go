package companion

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/meshfence/meshfence/controller/mesh"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/object"
)

// State is all by which it is decided what to write for one Service.
type State struct {
	Want inject.Companions
	Have Observed
	// Speaks is what the ports of the Service carry.
	Speaks policy.Speech
	// LedTo reports whether VirtualServices, the companion apart, lead to the reserved subset of the companion rule. It is
	// asked for only where the rule is to lose its subsets.
	LedTo bool
	Past  Timers
}

// Timers are since when a state holds, which the cluster does not tell. A new leader starts without any and lets things
// settle again.
type Timers struct {
	// Routed reports whether there was a companion route, or a user's in its place; one that is missing then is made
	// at once.
	Routed bool
	// Wanted is since when a route is wanted and the companion rule has what it leads to, Unwanted when none was wanted last.
	Wanted, Unwanted time.Time
}

// Write makes one companion what it should be.
type Write struct {
	Kind string
	// Old is the companion that is there, or nil.
	Old *unstructured.Unstructured
	// Want is what it is to hold; nil removes it.
	Want *inject.Companion
	// TakeBack reports whether somebody else's object has the name, and is made the companion.
	TakeBack bool
}

// Plan is what to do about the companions of one Service.
type Plan struct {
	// Past are the timers of the next State.
	Past Timers
	// Taken lists the kinds whose companion has to take its name back.
	Taken []string
	// Lacking is the user's DestinationRule without the reserved subset to which the companion route leads; empty for none.
	Lacking string
	// Keeps reports whether the companion rule keeps subsets that nobody wants for as long as routes may lead to them.
	Keeps bool
	// Writes are made in this order. One that fails or has to wait ends them.
	Writes []Write
	// After is when to look again, once all are made; 0 where a change asks again.
	After time.Duration
}

// Plan decides what to write. Routes never lead to a rule that the proxies do not know: the rule comes first and goes last,
// each with time to settle, and a route waits for as long as a rule for the host lacks the reserved subset.
func (s State) Plan(settle time.Duration, now time.Time) Plan {
	s = s.withoutReplaced()
	p := Plan{Past: s.Past, Taken: s.taken()}
	if s.Want.Route == nil && s.Have.Route != nil {
		p.add(object.KindVirtualService, s.Have.Route, nil, nil)
	}
	wait := s.wait(&p.Past, settle, now)
	nowhere := s.Want.Route != nil && s.Want.Rule != nil && !hasSubsets(s.Want.Rule)
	if s.Want.Route != nil && s.Want.Rule == nil {
		p.Lacking = mesh.Lacking(s.Have.UserRules)
	}
	if s.losesSubset() && (wait > 0 || s.LedTo) {
		p.Keeps, p.After = true, wait // a change of those routes asks again
		return p
	}
	if s.Want.Rule != nil || s.Have.Rule != nil {
		p.add(object.KindDestinationRule, s.Have.Rule, s.Want.Rule, s.Have.Taken)
	}
	switch {
	case (nowhere || p.Lacking != "") && s.Have.Route == nil:
		p.Past.Wanted = time.Time{} // once the subset is there, it gets time to settle, and a change of the rule asks again
	case s.Want.Route == nil || wait > 0:
		p.After = wait
	default:
		p.add(object.KindVirtualService, s.Have.Route, s.Want.Route, s.Have.Taken)
	}
	return p
}

func (p *Plan) add(kind string, old *unstructured.Unstructured, want *inject.Companion, taken []string) {
	p.Writes = append(p.Writes, Write{Kind: kind, Old: old, Want: want, TakeBack: old == nil && slices.Contains(taken, kind)})
}

// withoutReplaced wants no companion whose place a user's object takes, and of the route what the user's routes leave.
func (s State) withoutReplaced() State {
	if s.Have.UserRule {
		s.Want.Rule = nil
	}
	if s.Have.UserRoute && s.Want.Route != nil {
		s.Want.Route = s.Want.Route.Beside(s.Have.UserSections, s.Speaks)
	}
	return s
}

// taken lists the kinds of wanted companions whose name somebody else has.
func (s State) taken() []string {
	var taken []string
	for _, kind := range s.Have.Taken {
		if kind == object.KindDestinationRule && s.Want.Rule != nil || kind == object.KindVirtualService && s.Want.Route != nil {
			taken = append(taken, kind)
		}
	}
	return taken
}

// losesSubset reports whether the companion rule has subsets and is not to have any, although no user's rule takes its
// place.
func (s State) losesSubset() bool {
	if s.Have.Rule == nil || s.Have.UserRule {
		return false
	}
	return len(subsetsOf(s.Have.Rule)) > 0 && (s.Want.Rule == nil || !hasSubsets(s.Want.Rule))
}

func subsetsOf(rule *unstructured.Unstructured) []any {
	subsets, _, _ := unstructured.NestedSlice(rule.Object, "spec", "subsets")
	return subsets
}

func hasSubsets(rule *inject.Companion) bool { return rule.Spec["subsets"] != nil }

// wait returns how long to wait before the route may come, or, where none is wanted, before the rule may go.
func (s State) wait(t *Timers, settle time.Duration, now time.Time) time.Duration {
	if s.Want.Route == nil {
		t.Wanted = time.Time{}
		if t.Routed && !s.Have.UserRoute || s.Have.Route != nil {
			t.Unwanted = now
		}
		t.Routed = s.Have.UserRoute
		return settle - min(now.Sub(t.Unwanted), settle)
	}
	switch {
	case s.getsSubset(), t.Wanted.IsZero() && (s.Have.Rule == nil || s.Want.Rule == nil):
		t.Wanted = now
	case t.Wanted.IsZero():
		t.Wanted = s.Have.Rule.GetCreationTimestamp().Time // a former leader made it
	}
	t.Routed = t.Routed || s.Have.Route != nil
	if t.Routed {
		return 0
	}
	return settle - min(now.Sub(t.Wanted), settle)
}

// getsSubset reports whether the companion rule is to have subsets, and has none yet.
func (s State) getsSubset() bool {
	if s.Want.Rule == nil || !hasSubsets(s.Want.Rule) {
		return false
	}
	return s.Have.Rule == nil || len(subsetsOf(s.Have.Rule)) == 0
}
