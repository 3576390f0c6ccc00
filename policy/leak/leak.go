package leak

import (
	"slices"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// Severity says what a finding does to a request when its enforcement is enforce.
type Severity string

const (
	// Deny refuses the request.
	Deny Severity = "deny"
	// Warn lets it through with a warning.
	Warn Severity = "warn"
)

// Rule is one way to let traffic out. Rules are values without state and safe to share.
type Rule struct {
	// ID is a contract: it never changes and is never used again.
	ID string
	// Summary says what the rule is about, in one sentence.
	Summary string
	// Why says in whole sentences what happens otherwise, and Fix what to write instead. They are for the page of the
	// rule; Otherwise, Instead and Loosen are the parts of its messages.
	Why, Fix string
	// Rows are the rows of the catalogue that the rule covers. It is silent while an active hold stops all of
	// them; see [Catalogue].
	Rows []string
	// Guards is the hold whose own state the rule protects; 0 where there is none. While the FenceConfig names it no
	// other hold keeps the rule silent, because that hold keeps other rules silent.
	Guards policy.Hold
	// Kinds are the kinds of objects that it reads.
	Kinds []string
	// Deletions reports whether it judges deletions, and nothing else does.
	Deletions bool
	// Severity is that of its findings.
	Severity Severity
	// Otherwise says what gets out, as the end of the sentence "otherwise ...".
	Otherwise string
	// Instead says what to do, and Loosen what else helps where no locked entry of the FenceConfig fences the host.
	Instead, Loosen string

	check func(Write, *policy.View) []breach
}

// Write is one object that is written, or that exists.
type Write struct {
	*object.Object
	// Old returns what the object replaces, of which most writes never ask; nil on creation, and for an object that exists.
	Old func() *object.Object
	// Deleted reports whether the object goes.
	Deleted bool
	// Writer is the name of the user who writes; empty for an object that exists.
	Writer string
	// Own reports whether meshfence itself writes.
	Own bool

	gaps *foundGaps
}

// Known returns an object that has been read.
func Known(o *object.Object) func() *object.Object { return func() *object.Object { return o } }

// Before returns what the object replaces; nil where that is nothing, or cannot be read.
func (w Write) Before() *object.Object {
	if w.Old == nil {
		return nil
	}
	return w.Old()
}

// breach is what the check of a rule reports: where, on which host, and what must be there instead.
type breach struct {
	// path leads to the field.
	path object.Path
	// value is what is there.
	value any
	// at names the place by names instead of list indexes. Together with the value it tells an old breach
	// from a new one.
	at string
	// host is the fenced host that is affected.
	host policy.FencedHost
	// must completes the sentence "<field> must ...".
	must string
	// otherwise and instead replace what the rule says, where that would not be true of this breach.
	otherwise, instead string
	// unsure makes a warning of it, whatever the severity of the rule.
	unsure bool
	// repaired reports whether admission closes it when the object is written, and so the backfill without that.
	repaired bool
	// excuses are what exemptions must cover, all of them, so that it counts as accepted, beside one for the object
	// itself; none where no other object is in it.
	excuses []excuse
}

// Guard judges objects with a set of rules.
type Guard struct{ byKind map[string][]guarded }

// guarded is a rule and the holds of which one keeps it silent.
type guarded struct {
	Rule
	stops policy.Holds
}

// NewGuard returns a guard for the rules; see [Rules].
func NewGuard(rules []Rule) *Guard {
	g := &Guard{byKind: map[string][]guarded{}}
	for _, r := range rules {
		for _, kind := range r.Kinds {
			g.byKind[kind] = append(g.byKind[kind], guarded{r, r.Stops()})
		}
	}
	return g
}

// Judge returns the findings for a write, in the order of the rules. Those that the old object had too do not
// count: an update never fails for what it did not bring in.
func (g *Guard) Judge(w Write, view *policy.View) []Finding {
	c := collector{object: w.Object}
	g.each(w, view, c.add)
	if len(c.list) == 0 {
		return c.findings()
	}
	old := w.Before()
	if old == nil {
		return c.findings()
	}
	before := counted{}
	g.each(Write{Object: old, Writer: w.Writer, Own: w.Own}, view, before.add)
	c = collector{object: w.Object}
	g.each(w, view, func(h hit) {
		if !before.take(h) {
			c.add(h)
		}
	})
	return c.findings()
}

// Check returns the findings for an object that exists, in the order of the rules.
func (g *Guard) Check(o *object.Object, view *policy.View) []Finding {
	return g.Judge(Write{Object: o}, view)
}

// About returns the findings for an object that exists, which touch a host, or none in particular.
func (g *Guard) About(o *object.Object, fqdn string, view *policy.View) []Finding {
	return findings(o, slices.DeleteFunc(g.hits(Write{Object: o}, view), func(h hit) bool { return !h.about(fqdn) }))
}
