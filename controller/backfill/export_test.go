package backfill

import (
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/controller/change"
	"github.com/meshfence/meshfence/controller/mesh"
	"github.com/meshfence/meshfence/policy"
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

// Later is later.
func Later(delay time.Duration) time.Duration { return later(delay) }

// Refused is refused.
func Refused(err error) (state, reason string) {
	r := refused(err)
	return r.state, r.reason
}

// Inspect describes the job for an object; an empty step means that there is none.
func Inspect(o client.Object, index *policy.Index) (step, rule string, needs []string, err error) {
	j, err := inspect(o, index)
	if j == nil {
		return "", "", nil, err
	}
	return [steps]string{"tighten", "reroute", "loosen", "label"}[j.step], j.rule, j.needs, err
}

// Progress is what is known of the objects that are not in line.
type Progress struct{ *progress }

// NewProgress returns one that knows of none.
func NewProgress() Progress { return Progress{newProgress()} }

// Begin enters objects, all that are not in line if all is set.
func (p Progress) Begin(all bool, objects ...client.Object) int {
	var found jobs
	for _, o := range objects {
		found[tighten] = append(found[tighten], jobOf(o))
	}
	return p.begin(change.Set{All: all}, found)
}

// Set records what became of an object, and returns the reasons of the Events about it.
func (p Progress) Set(o client.Object, state, reason string) []string {
	var reasons []string
	for _, n := range p.set(jobOf(o), result{state, reason}) {
		reasons = append(reasons, n.reason)
	}
	return reasons
}

// Denied reports whether an object was refused and nothing has changed since.
func (p Progress) Denied(o client.Object) bool {
	_, denied := p.denied(jobOf(o))
	return denied
}

// Waiting reports whether an object was skipped or refused.
func (p Progress) Waiting(o client.Object) bool { return p.waiting(mesh.TargetOf(o)) }

// Drop forgets an object.
func (p Progress) Drop(o client.Object) bool { return p.drop(mesh.TargetOf(o)) }

// Reconsider lets refusals be tried again.
func (p Progress) Reconsider() { p.reconsider() }

// Counts returns how many objects are in each state, as the log takes them.
func (p Progress) Counts() []any { return p.pairs() }

func jobOf(o client.Object) *job { return &job{Target: mesh.TargetOf(o), stub: stubOf(o)} }
