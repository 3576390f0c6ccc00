package companion_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/meshfence/meshfence/controller/companion"
	"github.com/meshfence/meshfence/controller/mesh"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/object"
	"github.com/meshfence/meshfence/test/fakecluster"
)

const settle = 10 * time.Second

// at is the time of every plan, and ago one before it.
func at() time.Time { return time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC) }

func ago(d time.Duration) time.Time { return at().Add(-d) }

// rule is a companion rule that was made a while ago, with subsets or without.
func rule(age time.Duration, subsets ...any) *unstructured.Unstructured {
	u := mesh.ObjectOf(fakecluster.Kinds().Rule)
	u.SetCreationTimestamp(metav1.NewTime(ago(age)))
	spec := map[string]any{}
	if len(subsets) > 0 {
		spec["subsets"] = subsets
	}
	u.Object["spec"] = spec
	return u
}

func route() *unstructured.Unstructured { return mesh.ObjectOf(fakecluster.Kinds().Route) }

// TestPlan: the rule comes before the route and goes after it, each with time to settle, and nothing is made whose place a
// user's object takes.
func TestPlan(t *testing.T) {
	t.Parallel()
	const hour = time.Hour
	subset := any("meshfence-local")
	subsets, plain, way := &inject.Companion{Spec: map[string]any{"subsets": []any{subset}}}, &inject.Companion{Spec: map[string]any{}}, &inject.Companion{}
	both := inject.Companions{Rule: subsets, Route: way}
	has, lacks := []mesh.Rule{{Name: "users", Reserved: true}}, []mesh.Rule{{Name: "users"}}
	type observed = companion.Observed
	for name, test := range map[string]struct {
		want  inject.Companions
		have  observed
		ledTo bool
		past  companion.Timers
		// writes are what is to be written; the rest is as in Plan.
		writes  []string
		after   time.Duration
		keeps   bool
		lacking string
		taken   []string
		next    companion.Timers
	}{
		"nothing wanted, nothing there": {after: 0},
		"both wanted: the rule first, and the route waits": {
			want: both, writes: []string{"make rule"}, after: settle, next: companion.Timers{Wanted: at()},
		},
		"the rule is young": {
			want: both, have: observed{Rule: rule(4*time.Second, subset)}, past: companion.Timers{Wanted: ago(3 * time.Second)},
			writes: []string{"keep rule"}, after: 7 * time.Second, next: companion.Timers{Wanted: ago(3 * time.Second)},
		},
		"the rule cannot be written for now: the route waits for it": {
			want: both, past: companion.Timers{Wanted: ago(hour)}, writes: []string{"make rule"}, after: settle, next: companion.Timers{Wanted: at()},
		},
		"an old rule gets the subset: the route waits": {
			want: both, have: observed{Rule: rule(hour)}, past: companion.Timers{Wanted: ago(hour)},
			writes: []string{"keep rule"}, after: settle, next: companion.Timers{Wanted: at()},
		},
		"the rule has settled": {
			want: both, have: observed{Rule: rule(settle, subset)}, writes: []string{"keep rule", "make route"}, next: companion.Timers{Wanted: ago(settle)},
		},
		"a former leader made the rule long ago": {
			want: both, have: observed{Rule: rule(hour, subset)}, writes: []string{"keep rule", "make route"}, next: companion.Timers{Wanted: ago(hour)},
		},
		"both are there": {
			want: both, have: observed{Rule: rule(0, subset), Route: route()}, writes: []string{"keep rule", "keep route"},
			next: companion.Timers{Routed: true, Wanted: at()},
		},
		"somebody took the route away": {
			want: both, have: observed{Rule: rule(0, subset)}, past: companion.Timers{Routed: true, Wanted: ago(hour)},
			writes: []string{"keep rule", "make route"}, next: companion.Timers{Routed: true, Wanted: ago(hour)},
		},
		"a rule alone": {
			want: inject.Companions{Rule: plain}, writes: []string{"make rule"}, after: 0,
		},
		"neither wanted any more: the route goes first": {
			have: observed{Rule: rule(hour, subset), Route: route()}, past: companion.Timers{Routed: true, Wanted: ago(hour)},
			writes: []string{"remove route"}, after: settle, keeps: true, next: companion.Timers{Unwanted: at()},
		},
		"the route has gone a moment ago": {
			have: observed{Rule: rule(hour, subset)}, past: companion.Timers{Unwanted: ago(4 * time.Second)},
			after: 6 * time.Second, keeps: true, next: companion.Timers{Unwanted: ago(4 * time.Second)},
		},
		"the route has gone long ago": {
			have: observed{Rule: rule(hour, subset)}, past: companion.Timers{Unwanted: ago(settle)},
			writes: []string{"remove rule"}, next: companion.Timers{Unwanted: ago(settle)},
		},
		"users' routes still lead to the subset": {
			have: observed{Rule: rule(hour, subset)}, ledTo: true, past: companion.Timers{Unwanted: ago(hour)},
			keeps: true, next: companion.Timers{Unwanted: ago(hour)},
		},
		"a rule without subsets goes although they do": {
			have: observed{Rule: rule(hour)}, ledTo: true, past: companion.Timers{Unwanted: ago(hour)},
			writes: []string{"remove rule"}, next: companion.Timers{Unwanted: ago(hour)},
		},
		"a rule loses its subsets when nothing leads there": {
			want: inject.Companions{Rule: plain}, have: observed{Rule: rule(hour, subset)}, past: companion.Timers{Unwanted: ago(hour)},
			writes: []string{"keep rule"}, next: companion.Timers{Unwanted: ago(hour)},
		},
		"a rule keeps its subsets while something does": {
			want: inject.Companions{Rule: plain}, have: observed{Rule: rule(hour, subset)}, ledTo: true, past: companion.Timers{Unwanted: ago(hour)},
			keeps: true, next: companion.Timers{Unwanted: ago(hour)},
		},
		"a user's rule with the subset": {
			want: both, have: observed{UserRule: true, UserRules: has}, past: companion.Timers{Wanted: ago(settle)},
			writes: []string{"make route"}, next: companion.Timers{Wanted: ago(settle)},
		},
		"a user's rule gets time to settle too": {
			want: both, have: observed{UserRule: true, UserRules: has}, after: settle, next: companion.Timers{Wanted: at()},
		},
		"a user's rule takes the companion's place": {
			want: both, have: observed{Rule: rule(hour, subset), Route: route(), UserRule: true, UserRules: has},
			writes: []string{"remove rule", "keep route"}, next: companion.Timers{Routed: true, Wanted: at()},
		},
		"a user's rule lacks the subset: no route": {
			want: both, have: observed{UserRule: true, UserRules: lacks}, past: companion.Timers{Wanted: ago(hour)}, lacking: "users",
		},
		"a user's rule lost the subset: the route stays": {
			want: both, have: observed{Route: route(), UserRule: true, UserRules: lacks}, writes: []string{"keep route"}, lacking: "users",
			next: companion.Timers{Routed: true, Wanted: at()},
		},
		"the companion rule is to have no subset: no route": {
			want: inject.Companions{Rule: plain, Route: way}, past: companion.Timers{Wanted: ago(hour)}, writes: []string{"make rule"},
		},
		"a user's route takes the companion's place": {
			want: both, have: observed{Rule: rule(hour, subset), Route: route(), UserRoute: true, UserSections: []string{"http", "tls", "tcp"}},
			writes: []string{"remove route", "keep rule"}, after: settle, next: companion.Timers{Routed: true, Unwanted: at()},
		},
		"a user's route of HTTP leaves the companion to the other protocols": {
			want: both, have: observed{Rule: rule(hour, subset), Route: route(), UserRoute: true, UserSections: []string{"http"}},
			writes: []string{"keep rule", "keep route"}, next: companion.Timers{Routed: true, Wanted: ago(hour)},
		},
		"a user's route has gone: the companion comes at once": {
			want: both, have: observed{Rule: rule(0, subset)}, past: companion.Timers{Routed: true},
			writes: []string{"keep rule", "make route"}, next: companion.Timers{Routed: true, Wanted: at()},
		},
		"a user's route has gone, and nothing is wanted: the rule waits": {
			have: observed{Rule: rule(hour, subset)}, past: companion.Timers{Routed: true}, after: settle, keeps: true,
			next: companion.Timers{Unwanted: at()},
		},
		"somebody else has the names": {
			want: both, have: observed{Taken: []string{object.KindDestinationRule, object.KindVirtualService}}, past: companion.Timers{Wanted: ago(hour)},
			writes: []string{"take back rule"}, taken: []string{object.KindDestinationRule, object.KindVirtualService},
			after: settle, next: companion.Timers{Wanted: at()},
		},
		"somebody else has the name of the route": {
			want: both, have: observed{Rule: rule(hour, subset), Taken: []string{object.KindVirtualService}}, past: companion.Timers{Wanted: ago(hour)},
			writes: []string{"keep rule", "take back route"}, taken: []string{object.KindVirtualService}, next: companion.Timers{Wanted: ago(hour)},
		},
		"somebody else has a name that is not needed": {
			want: inject.Companions{Rule: plain}, have: observed{Taken: []string{object.KindVirtualService}}, writes: []string{"make rule"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			plan := companion.State{Want: test.want, Have: test.have, Speaks: policy.Speech{HTTP: true, Bytes: true}, LedTo: test.ledTo, Past: test.past}.Plan(settle, at())
			got := map[string]any{
				"writes": describe(plan.Writes), "after": plan.After, "keeps": plan.Keeps, "lacking": plan.Lacking, "taken": plan.Taken, "next": plan.Past,
			}
			want := map[string]any{
				"writes": test.writes, "after": test.after, "keeps": test.keeps, "lacking": test.lacking, "taken": test.taken, "next": test.next,
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
		})
	}
}

func describe(writes []companion.Write) []string {
	var list []string
	for _, w := range writes {
		what := "rule"
		if w.Kind == object.KindVirtualService {
			what = "route"
		}
		switch {
		case w.Want == nil:
			what = "remove " + what
		case w.TakeBack:
			what = "take back " + what
		case w.Old == nil:
			what = "make " + what
		default:
			what = "keep " + what
		}
		list = append(list, what)
	}
	return list
}
