package backfill

// step orders the writes. A subset is there before routes lead to it, and goes when none does any more, so that
// no request is sent to a subset that is not there.
type step int

const (
	tighten step = iota
	reroute
	loosen
	label
	steps
)

// differences are those of one pass by step.
type differences [steps][]*difference

// settles reports whether the proxies must hear of what a step wrote before the next begins.
func (d differences) settles(done step) bool {
	return done == tighten && len(d[reroute]) > 0 || done == reroute && len(d[loosen]) > 0
}
