package backfill

import (
	"fmt"
	"maps"
	"slices"
	"sync"

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
	// rule is the host of a DestinationRule, which routes to it wait for.
	rule string
	step step
	// stale reports whether something has changed since, so that a refusal may be over.
	stale bool
	// unchanged is how often in a row it came back from admission as it was.
	unchanged int
}

// unchangedReported is how often in a row an object may come back from admission as it was before that is told: replicas that
// start, or that have not seen a change yet, leave one as it is for a moment.
const unchangedReported = 3

// progress holds the objects that are not in line, for metrics, Events and the order of writes. It is safe for use by
// many at once.
type progress struct {
	mu      sync.Mutex
	entries map[object.Key]entry
	// lacking are the DestinationRules among the entries that do not have their reserved subset yet.
	lacking map[object.Key]bool
	// states counts the entries by state, and those that are in line by now.
	states map[string]int
	// written are the objects that were written, as the index had them, until it has others.
	written map[object.Key]*object.Object
}

func newProgress() *progress {
	return &progress{
		entries: map[object.Key]entry{}, lacking: map[object.Key]bool{}, written: map[object.Key]*object.Object{},
		states: map[string]int{stateDone: 0, statePending: 0, stateSkipped: 0, stateFailed: 0},
	}
}

// enter sets the entry of an object. The lock must be held.
func (p *progress) enter(t object.Key, e entry) {
	p.leave(t)
	p.entries[t] = e
	p.states[e.state]++
	if t.Kind == object.KindDestinationRule && e.step == tighten {
		p.lacking[t] = true
	}
}

// leave takes an object out. The lock must be held.
func (p *progress) leave(t object.Key) {
	if e, known := p.entries[t]; known {
		p.states[e.state]--
	}
	delete(p.entries, t)
	delete(p.lacking, t)
}

// begin enters what a look found to differ, and returns how much that is. The other objects at which it looked are in line
// or gone by now.
func (p *progress) begin(looked func(object.Key) bool, found differences) (total int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	listed := map[object.Key]bool{}
	for _, list := range found {
		for _, d := range list {
			total++
			listed[d.Key] = true
			e, known := p.entries[d.Key]
			if !known {
				e.result = result{state: statePending}
			}
			e.rule, e.step = d.rule, d.step
			p.enter(d.Key, e)
		}
	}
	for t := range p.entries {
		if !listed[t] && looked(t) {
			p.leave(t)
		}
	}
	return total
}

// news is an Event that is to be made about an object.
type news struct{ reason, text string }

// set records what became of an object that differs, and returns what is to be told of it: each thing once.
func (p *progress) set(d *difference, r result) []news {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.entries[d.Key]
	if r.state == stateDone {
		p.states[stateDone]++
		p.leave(d.Key)
		return nil
	}
	e := entry{result: r, rule: d.rule, step: d.step}
	if r.reason == errUnchanged.Error() {
		e.unchanged = old.unchanged + 1
	}
	p.enter(d.Key, e)
	var all []news
	if e.unchanged == unchangedReported {
		all = append(all, news{"BackfillUndone", fmt.Sprintf(
			"%s %d times: another webhook takes out what it adds, or the webhooks of meshfence are not asked; it is tried again ever more slowly", r.reason, e.unchanged)})
	}
	switch {
	case r.state == old.state:
	case r.state == stateFailed:
		all = append(all, news{"BackfillFailed", r.reason})
	case r.state == stateSkipped:
		all = append(all, news{"BackfillSkipped", r.reason})
	}
	return all
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

// denied returns the refusal of an object that nothing has changed since.
func (p *progress) denied(d *difference) (result, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.entries[d.Key]
	return e.result, e.state == stateFailed && !e.stale
}

// of returns the state of an object that is not in line.
func (p *progress) of(t object.Key) (result, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e, ok := p.entries[t]
	return e.result, ok
}

// waiting reports whether an object was skipped or refused.
func (p *progress) waiting(t object.Key) bool {
	r, ok := p.of(t)
	return ok && r.state != statePending
}

// undone reports whether an object came back from admission as it was, so that it is tried ever more slowly, whoever writes
// it.
func (p *progress) undone(t object.Key) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.entries[t].unchanged > 0
}

// wrote notes that an object was written, and which one that was by the index.
func (p *progress) wrote(was *object.Object) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.written[was.Key()] = was
}

// behind reports whether an object was written that the index has not seen since.
func (p *progress) behind(o *object.Object) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.written[o.Key()] == o
}

// seen notes that the index has another object of that name.
func (p *progress) seen(t object.Key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.written, t)
}

// differing returns a DestinationRule of a host that does not have its reserved subset yet.
func (p *progress) differing(host string) (object.Key, result, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for t := range p.lacking {
		if e := p.entries[t]; mesh.Covers(e.rule, host) {
			return t, e.result, true
		}
	}
	return object.Key{}, result{}, false
}

// counts returns how many objects are in each state.
func (p *progress) counts() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.states)
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
