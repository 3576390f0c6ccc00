package notice

import (
	"sync"

	eventsv1 "k8s.io/api/events/v1"
)

// waiting is how many Events of one reason wait to be sent at most; more are dropped, and counted.
const waiting = 1024

// queue holds Events that wait to be sent. The reasons take turns: a thousand leaks do not keep the one Event waiting that
// says that nobody calls the webhook.
type queue struct {
	// filled holds a token after an Event has come.
	filled chan struct{}

	mu     sync.Mutex
	events map[string][]*eventsv1.Event // by reason, of which there are few
	turns  []string                     // the reasons that have some
}

func newQueue() *queue {
	return &queue{filled: make(chan struct{}, 1), events: map[string][]*eventsv1.Event{}}
}

// put adds an Event, and reports whether there was room.
func (q *queue) put(e *eventsv1.Event) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	before := q.events[e.Reason]
	if len(before) >= waiting {
		return false
	}
	if len(before) == 0 {
		q.turns = append(q.turns, e.Reason)
	}
	q.events[e.Reason] = append(before, e)
	select {
	case q.filled <- struct{}{}:
	default:
	}
	return true
}

// take returns the first Event of the reason whose turn it is; nil where there is none.
func (q *queue) take() *eventsv1.Event {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.turns) == 0 {
		return nil
	}
	reason := q.turns[0]
	first, rest := q.events[reason][0], q.events[reason][1:]
	q.turns = q.turns[1:]
	if len(rest) == 0 {
		delete(q.events, reason)
		return first
	}
	q.events[reason] = rest
	q.turns = append(q.turns, reason)
	return first
}
