package backfill

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/meshfence/meshfence/controller/change"
	"github.com/meshfence/meshfence/controller/mesh"
	"github.com/meshfence/meshfence/policy/object"
)

// The states of objects in the backfill.
const (
	// statePending objects are tried again.
	statePending = "pending"
	// stateDone objects are in line.
	stateDone = "done"
	// stateSkipped objects need one that was refused.
	stateSkipped = "skipped"
	// stateFailed objects were refused; they are tried again when something changes.
	stateFailed = "failed"
)

// result is the state of an object and the reason for it.
type result struct{ state, reason string }

// dependent returns the state of an object that waits for this one.
func (r result) dependent() string {
	if r.state == statePending {
		return statePending
	}
	return stateSkipped
}

// entry is what is known of an object that is not in line.
type entry struct {
	result
	// version is the resource version that was tried.
	version string
	// rule is the host of a DestinationRule, which routes to it wait for.
	rule string
	step step
	// stale reports whether something has changed since, so that a refusal may be over.
	stale bool
	// unchanged is how often in a row it came back from admission as it was.
	unchanged int
}

// unchangedTold is how often in a row an object may come back from admission as it was before that is told: replicas that
// start, or that have not seen a change yet, leave one as it is for a moment.
const unchangedTold = 3

// progress holds the objects that are not in line, for metrics, Events and the order of writes. It is safe for use by
// many at once.
type progress struct {
	mu      sync.Mutex
	entries map[mesh.Target]entry
	done    int
}

func newProgress() *progress { return &progress{entries: map[mesh.Target]entry{}} }

// begin enters the jobs of a pass and returns how many there are. A pass over everything also shows which
// objects are in line or gone by now.
func (p *progress) begin(s change.Set, found jobs) (total int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	listed := map[mesh.Target]bool{}
	for _, list := range found {
		for _, j := range list {
			total++
			listed[j.Target] = true
			e, known := p.entries[j.Target]
			if !known {
				e.result = result{state: statePending}
			}
			e.rule, e.step = j.rule, j.step
			p.entries[j.Target] = e
		}
	}
	for t := range p.entries {
		if s.All && !listed[t] {
			delete(p.entries, t)
		}
	}
	return total
}

// news is an Event that is to be made about an object.
type news struct{ reason, text string }

// set records what became of a job, and returns what is to be told of it: each thing once.
func (p *progress) set(j *job, r result) []news {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.entries[j.Target]
	if r.state == stateDone {
		p.done++
		delete(p.entries, j.Target)
		return nil
	}
	e := entry{result: r, version: j.stub.GetResourceVersion(), rule: j.rule, step: j.step}
	if r.reason == errUnchanged.Error() {
		e.unchanged = old.unchanged + 1
	}
	p.entries[j.Target] = e
	var told []news
	if e.unchanged == unchangedTold {
		told = append(told, news{"BackfillUndone", fmt.Sprintf(
			"%s %d times: another webhook takes out what it adds, or the webhooks of meshfence are not asked; it is tried again ever more slowly", r.reason, e.unchanged)})
	}
	switch {
	case r.state == old.state:
	case r.state == stateFailed:
		told = append(told, news{"BackfillFailed", r.reason})
	case r.state == stateSkipped:
		told = append(told, news{"BackfillSkipped", r.reason})
	}
	return told
}

// reconsider lets refusals be tried again.
func (p *progress) reconsider() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for t, e := range p.entries {
		e.stale = true
		p.entries[t] = e
	}
}

// denied returns the refusal of a job that nothing has changed since.
func (p *progress) denied(j *job) (result, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.entries[j.Target]
	return e.result, e.state == stateFailed && !e.stale && e.version == j.stub.GetResourceVersion()
}

// of returns the state of an object that is not in line.
func (p *progress) of(t mesh.Target) (result, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e, ok := p.entries[t]
	return e.result, ok
}

// waiting reports whether an object was skipped or refused.
func (p *progress) waiting(t mesh.Target) bool {
	r, ok := p.of(t)
	return ok && r.state != statePending
}

// drop forgets an object that turned out to be in line, and reports whether it was known.
func (p *progress) drop(t mesh.Target) (known bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, known = p.entries[t]
	delete(p.entries, t)
	return known
}

// differing returns a DestinationRule of a host that does not have its reserved subset yet.
func (p *progress) differing(host string) (mesh.Target, result, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for t, e := range p.entries {
		if t.Kind == object.KindDestinationRule && e.step == tighten && mesh.Covers(e.rule, host) {
			return t, e.result, true
		}
	}
	return mesh.Target{}, result{}, false
}

// counts returns how many objects are in each state.
func (p *progress) counts() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	counts := map[string]int{stateDone: p.done, statePending: 0, stateSkipped: 0, stateFailed: 0}
	for _, e := range p.entries {
		counts[e.state]++
	}
	return counts
}

// pairs returns the counts as the log takes them.
func (p *progress) pairs() []any {
	var pairs []any
	counts := p.counts()
	for _, state := range slices.Sorted(maps.Keys(counts)) {
		pairs = append(pairs, state, counts[state])
	}
	return pairs
}
