package contest

import "time"

const (
	// free is how often the same may be written again without a pause: somebody may well be mistaken a few times.
	free = 5
	// The shortest and the longest pause after that.
	pauseFirst = time.Second
	pauseMax   = 10 * time.Minute
	// calm is how long what is written must last beyond a pause to end a contest.
	calm = time.Minute
)

// Record remembers the writes of one object. The zero value is that of an object that was not written yet.
type Record struct {
	what  string
	last  time.Time
	again int
}

// Wait returns how long to wait before this is written, 0 for not at all.
func (r *Record) Wait(what string, now time.Time) time.Duration {
	if r.what != what || r.again < free {
		return 0
	}
	return max(0, r.pause()-now.Sub(r.last))
}

// Wrote records a write, and reports whether it is the one by which it shows that the object is contested.
func (r *Record) Wrote(what string, now time.Time) (contested bool) {
	if r.what != what || now.Sub(r.last) > r.pause()+calm {
		*r = Record{what: what, last: now}
		return false
	}
	r.last, r.again = now, r.again+1
	return r.again == free
}

// Contested reports whether somebody else keeps changing what was written.
func (r *Record) Contested(now time.Time) bool {
	return r.again >= free && now.Sub(r.last) <= r.pause()+calm
}

// pause doubles with each write beyond those that are free.
func (r *Record) pause() time.Duration {
	if r.again < free {
		return 0
	}
	return min(pauseFirst<<min(r.again-free, 20), pauseMax)
}
