package inject

import (
	"slices"
	"strings"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// Edit changes one place of an object.
type Edit struct {
	Path object.Path
	// Value is added at Path: it replaces the member of a mapping, and is inserted before the item of a
	// list ("-" appends). Parents that are absent are created. Nil removes what is at Path.
	Value any
	// Prune says how many parents of a removed Path go too when they are left empty.
	Prune int
}

// Plan is what admission does to one object.
type Plan struct {
	// Edits are applied in order. None means that the object is as it must be, or cannot be fixed.
	Edits []Edit
	// Gaps are the places where an active hold is not true for a strict host before the edits.
	Gaps []Gap
	// Idle are the settings beside which prefer does nothing for a prefer host, and which admission leaves to whoever
	// set them.
	Idle []Gap
	// Dropped are the reserved subsets that the edits take away. Nothing may route to one by then.
	Dropped []string
}

func (p *Plan) add(path object.Path, value any) {
	p.Edits = append(p.Edits, Edit{Path: path, Value: value})
}

func (p *Plan) remove(path object.Path, prune int) {
	p.Edits = append(p.Edits, Edit{Path: path, Prune: prune})
}

// setString gives a label or annotation a value; empty removes it.
func (p *Plan) setString(parent object.Path, key string, have map[string]string, want string) {
	value, present := have[key]
	switch {
	case want == "" && present:
		p.remove(slices.Concat(parent, []string{key}), 1)
	case want != "" && value != want:
		p.add(slices.Concat(parent, []string{key}), want)
	}
}

// analyzeSuppress is the annotation that silences istioctl analyze.
const analyzeSuppress = "galley.istio.io/analyze-suppress"

// suppress keeps a message, where one is wanted, in the list of suppressed ones, and takes the one out again that an
// earlier admission put in. It returns the one that is there because of ours; empty says none. A list that a user
// wrote stays as it is, because tools compare it as one value. Istio splits the list at commas and does not trim
// (pkg/config/analysis/local).
func (p *Plan) suppress(list, wanted, had string) (has string) {
	if wanted == "" && had == "" {
		return ""
	}
	path := []string{"metadata", "annotations", analyzeSuppress}
	codes := strings.Split(list, ",")
	i := slices.Index(codes, had)
	switch ours := had != "" && i >= 0; {
	case ours && wanted == had:
		return had
	case ours && len(codes) > 1:
		p.add(path, strings.Join(slices.Delete(codes, i, i+1), ","))
		return ""
	case ours && wanted == "":
		p.remove(path, 1)
	case wanted != "" && (ours || list == ""):
		p.add(path, wanted)
		return wanted
	}
	return ""
}

// Lacking says what is missing in a gap.
type Lacking uint8

const (
	// LacksSubset is a subset, or its label.
	LacksSubset Lacking = iota
	// LacksDistribution is what sends the clients of each cluster to its own localities.
	LacksDistribution
	// LacksDestinationSubset is the subset of a destination.
	LacksDestinationSubset
	// LacksRoutes is routes of a whole section of a VirtualService.
	LacksRoutes
	// LacksFailover is what has prefer look at localities.
	LacksFailover
)

// Gap is one place where an active hold is not true, or where prefer does nothing.
type Gap struct {
	Lacking Lacking
	// Hold is 0 for prefer.
	Hold  policy.Hold
	Path  object.Path
	Value any
	// At names the place by names and ports instead of list indexes, so that it stays the same when a list
	// is reordered.
	At   string
	Host policy.FencedHost
	// Must completes the sentence "<field> must ...".
	Must string
	// Fix says what helps, where it is not to send the object through admission again.
	Fix string
	// Repaired reports whether an edit closes it.
	Repaired bool
	// Blocked reports whether a user's setting is in the way, which admission leaves to that user.
	Blocked bool
}

// Object plans the edits for an object of any kind that admission changes.
func Object(o *object.Object, view *policy.View) Plan {
	var plan Plan
	switch o.Kind {
	case object.KindService:
		plan = service(o, view)
	case object.KindDestinationRule:
		plan = destinationRule(o, view)
	case object.KindVirtualService:
		plan = virtualService(o, view)
	}
	plan.mark()
	return plan
}

// mark tells the gaps that the edits close.
func (p *Plan) mark() {
	if len(p.Gaps) == 0 {
		return
	}
	edited := map[string]bool{}
	for _, e := range p.Edits {
		edited[strings.TrimSuffix(strings.Join(e.Path, "/"), "/-")] = true
	}
	for i, g := range p.Gaps {
		p.Gaps[i].Repaired = !g.Blocked && edited[strings.Join(g.Path, "/")]
	}
}
