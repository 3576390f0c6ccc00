package controller

import (
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/events"

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

// maxNote is how much of the 1024 bytes that the note of an Event may have is used.
const maxNote = 900

// result is the state of an object and the reason for it.
type result struct{ state, reason string }

// dependent returns the state of an object that waits for this one.
func (r result) dependent() string {
	if r.state == statePending {
		return statePending
	}
	return stateSkipped
}

// entry is what the board holds of an object that is not in line.
type entry struct {
	result
	// version is the resource version that was tried.
	version string
	// rule is the host of a DestinationRule, which routes to it wait for.
	rule string
	step step
	// stale says that something has changed since, so that a refusal may be over.
	stale bool
	// unmended is how often in a row it came back from admission as it was.
	unmended int
}

// unmendedTold is how often in a row an object may come back from admission as it was before that is told: replicas that
// start, or that have not seen a change yet, leave one as it is for a moment.
const unmendedTold = 3

// board holds the objects that are not in line, for metrics, Events and the order of writes.
type board struct {
	metrics  *metrics
	recorder events.EventRecorder

	mu      sync.Mutex
	entries map[target]entry
	done    int
}

func newBoard(m *metrics, recorder events.EventRecorder) *board {
	b := &board{entries: map[target]entry{}, metrics: m, recorder: recorder}
	b.publish()
	return b
}

// begin enters the jobs of a pass and returns how many there are. A pass over everything also shows which
// objects are in line or gone by now.
func (b *board) begin(s scope, found jobs) (total int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	listed := map[target]bool{}
	for _, list := range found {
		for _, j := range list {
			total++
			listed[j.target] = true
			e, known := b.entries[j.target]
			if !known {
				e.result = result{state: statePending}
			}
			e.rule, e.step = j.rule, j.step
			b.entries[j.target] = e
		}
	}
	for t := range b.entries {
		if s.all && !listed[t] {
			delete(b.entries, t)
		}
	}
	b.publish()
	return total
}

// set records what became of a job, and tells of it once in an Event.
func (b *board) set(j *job, r result) {
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.entries[j.target]
	if r.state == stateDone {
		b.done++
		delete(b.entries, j.target)
	} else {
		e := entry{result: r, version: j.stub.GetResourceVersion(), rule: j.rule, step: j.step}
		if r.reason == errUnmended.Error() {
			e.unmended = old.unmended + 1
		}
		b.entries[j.target] = e
		if e.unmended == unmendedTold {
			b.recorder.Eventf(j.stub, nil, corev1.EventTypeWarning, "BackfillUndone", "Backfill",
				"%s %d times: another webhook takes out what it adds, or the webhooks of meshfence are not asked; it is tried again ever more slowly", r.reason, e.unmended)
		}
	}
	b.publish()
	if r.state == old.state || r.state != stateSkipped && r.state != stateFailed {
		return
	}
	reason := "BackfillSkipped"
	if r.state == stateFailed {
		reason = "BackfillFailed"
	}
	b.recorder.Eventf(j.stub, nil, corev1.EventTypeWarning, reason, "Backfill", "%s", r.reason[:min(len(r.reason), maxNote)])
}

// reconsider lets refusals be tried again.
func (b *board) reconsider() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for t, e := range b.entries {
		e.stale = true
		b.entries[t] = e
	}
}

// denied returns the refusal of a job that nothing has changed since.
func (b *board) denied(j *job) (result, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entries[j.target]
	return e.result, e.state == stateFailed && !e.stale && e.version == j.stub.GetResourceVersion()
}

// of returns the state of an object that is not in line.
func (b *board) of(t target) (result, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e, ok := b.entries[t]
	return e.result, ok
}

// waiting says that an object was skipped or refused.
func (b *board) waiting(t target) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	e, ok := b.entries[t]
	return ok && e.state != statePending
}

// drop forgets an object that turned out to be in line.
func (b *board) drop(t target) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.entries[t]; ok {
		delete(b.entries, t)
		b.publish()
	}
}

// unlike returns a DestinationRule of a host that does not have its reserved subset yet.
func (b *board) unlike(host string) (target, result, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for t, e := range b.entries {
		if t.kind == object.KindDestinationRule && e.step == tighten && covers(e.rule, host) {
			return t, e.result, true
		}
	}
	return target{}, result{}, false
}

func (b *board) count() map[string]int {
	counts := map[string]int{stateDone: b.done, statePending: 0, stateSkipped: 0, stateFailed: 0}
	for _, e := range b.entries {
		counts[e.state]++
	}
	return counts
}

func (b *board) publish() {
	for state, n := range b.count() {
		b.metrics.backfill.WithLabelValues(state).Set(float64(n))
	}
}

// counts returns the numbers as the log takes them.
func (b *board) counts() []any {
	b.mu.Lock()
	defer b.mu.Unlock()
	var pairs []any
	counts := b.count()
	for _, state := range slices.Sorted(slices.Values([]string{stateDone, statePending, stateSkipped, stateFailed})) {
		pairs = append(pairs, state, counts[state])
	}
	return pairs
}
