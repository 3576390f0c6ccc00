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

// differences are those of one look by step.
type differences [steps][]*difference
