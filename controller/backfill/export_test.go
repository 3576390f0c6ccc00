package backfill

import (
	"github.com/meshfence/meshfence/controller/change"
	"github.com/meshfence/meshfence/controller/mesh"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// The states of objects.
const (
	Pending = statePending
	Done    = stateDone
	Skipped = stateSkipped
	Failed  = stateFailed
)

// Unchanged is the reason of an object that came back from admission as it was.
func Unchanged() string { return errUnchanged.Error() }

// Refused is refused.
func Refused(err error) (state, reason string) {
	r := refused(err)
	return r.state, r.reason
}

// Inspect describes how an object differs; an empty step means that it does not.
func Inspect(o *object.Object, index *policy.Index) (step, rule string, needs []string) {
	d := inspect(o, index)
	if d == nil {
		return "", "", nil
	}
	return [steps]string{"tighten", "reroute", "loosen", "label"}[d.step], d.rule, d.needs
}

// Visited returns how many objects a look at a change visits.
func Visited(m *mesh.Mesh, c policy.Change) int {
	s := change.NewSet()
	s.Add(c)
	b := &Backfill{Options: Options{Mesh: m}, progress: newProgress()}
	return len(b.touched(s, nil))
}

// Progress is what is known of the objects that are not in line.
type Progress struct{ *progress }

// NewProgress returns one that knows of none.
func NewProgress() Progress { return Progress{newProgress()} }

// Begin enters objects, all that are not in line if all is set.
func (p Progress) Begin(all bool, objects ...*object.Object) int {
	var found differences
	for _, o := range objects {
		found[tighten] = append(found[tighten], differenceOf(o))
	}
	return p.begin(func(object.Key) bool { return all }, found)
}

// Set records what became of an object, and returns the reasons of the Events about it.
func (p Progress) Set(o *object.Object, state, reason string) []string {
	var reasons []string
	for _, n := range p.set(differenceOf(o), result{state, reason}) {
		reasons = append(reasons, n.reason)
	}
	return reasons
}

// Denied reports whether an object was refused and nothing has changed since.
func (p Progress) Denied(o *object.Object) bool {
	_, denied := p.denied(differenceOf(o))
	return denied
}

// Waiting reports whether an object was skipped or refused.
func (p Progress) Waiting(o *object.Object) bool { return p.waiting(o.Key()) }

// Reconsider lets refusals be tried again.
func (p Progress) Reconsider() { p.reconsider() }

// Counts returns how many objects are in each state, as the log takes them.
func (p Progress) Counts() []any { return p.pairs() }

func differenceOf(o *object.Object) *difference { return &difference{Key: o.Key(), of: o} }
