package backfill

import (
	"maps"
	"slices"
	"time"

	"github.com/meshfence/meshfence/controller/mesh"
	"github.com/meshfence/meshfence/policy/object"
)

// queue holds the objects that are to be written. The steps go in order, whenever an object came, so that nothing waits for
// labels, which also go while what comes first has to settle; within a step the looks that found the objects take turns, so
// that a small change does not wait for a large one.
type queue struct {
	// settle is how long the proxies get to hear of what one step wrote before what leads there is written.
	settle time.Duration
	// looks are what each look found to differ, and queued which of that counts: a later look takes the place of an earlier one.
	looks  []*differences
	queued map[object.Key]*difference
	// tightened is when rules were written that the proxies may not have heard of, by their hosts, and rerouted when the last
	// route was written.
	tightened map[string]time.Time
	rerouted  time.Time
}

func newQueue(settle time.Duration) *queue {
	return &queue{settle: settle, queued: map[object.Key]*difference{}, tightened: map[string]time.Time{}}
}

// add puts what a look found at the end. The other objects at which it looked are in line or gone by now.
func (q *queue) add(found differences, looked func(object.Key) bool) {
	maps.DeleteFunc(q.queued, func(key object.Key, _ *difference) bool { return looked(key) })
	for _, list := range found {
		for _, d := range list {
			q.queued[d.Key] = d
		}
	}
	q.looks = append(q.looks, &found)
	q.trim()
}

// trim takes out what does not count any more, as far as it is in front.
func (q *queue) trim() {
	q.looks = slices.DeleteFunc(q.looks, func(found *differences) bool {
		total := 0
		for s, list := range found {
			for len(list) > 0 && q.queued[list[0].Key] != list[0] {
				list = list[1:]
			}
			found[s] = list
			total += len(list)
		}
		return total == 0
	})
}

// next returns when an object may be written, and whether there is one.
func (q *queue) next() (at time.Time, ok bool) {
	for _, found := range q.looks {
		for _, list := range found {
			if len(list) == 0 {
				continue
			}
			if when := q.at(list[0]); !ok || when.Before(at) {
				at, ok = when, true
			}
		}
	}
	return at, ok
}

// take returns the object that is to be written at a time, nil where there is none.
func (q *queue) take(now time.Time) *difference {
	for s := range steps {
		for i, found := range q.looks {
			if len(found[s]) == 0 || q.at(found[s][0]).After(now) {
				continue
			}
			d := found[s][0]
			delete(q.queued, d.Key)
			q.looks = append(slices.Delete(q.looks, i, i+1), found)
			q.trim()
			return d
		}
	}
	return nil
}

// at returns when an object may be written: a route when the proxies have heard of the rules whose subset it needs, and a
// rule that loses its subset when they have heard of the routes.
func (q *queue) at(d *difference) (at time.Time) {
	if d.step == loosen && !q.rerouted.IsZero() {
		return q.rerouted.Add(q.settle)
	}
	for rule, wrote := range q.tightened {
		covers := func(host string) bool { return mesh.Covers(rule, host) }
		if heard := wrote.Add(q.settle); heard.After(at) && slices.ContainsFunc(d.needs, covers) {
			at = heard
		}
	}
	return at
}

// wrote notes that an object was written.
func (q *queue) wrote(d *difference, now time.Time) {
	switch d.step {
	case tighten:
		maps.DeleteFunc(q.tightened, func(_ string, wrote time.Time) bool { return wrote.Add(q.settle).Before(now) })
		q.tightened[d.rule] = now
	case reroute:
		q.rerouted = now
	}
}

// empty reports whether nothing is left to write.
func (q *queue) empty() bool { return len(q.queued) == 0 }
