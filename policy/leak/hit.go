package leak

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/meshfence/meshfence/policy"
)

// maxFindings is how many findings that are alike one object has at most: of one rule, and dealt with in the same way.
// How many are left out is counted, so that what becomes of the object is the same.
const maxFindings = 10

// hit is a breach of a rule, before anything is written about it: there may be as many as an object has items.
type hit struct {
	*guarded
	breach
}

// hits applies the rules to an object.
func (g *Guard) hits(w Write, view *policy.View) []hit {
	var hits []hit
	w.gaps = &foundGaps{}
	config := view.Config()
	routing := config.Active().Routing()
	led := leaders{view, map[string][]policy.FencedHost{}}
	rules := g.byKind[w.Kind]
	for i := range rules {
		r := &rules[i]
		if w.Deleted && !r.Deletions || r.stops.Intersects(routing) && !config.Holds.Has(r.Guards) {
			continue
		}
		for _, b := range r.check(w, view) {
			b.host = led.add(b.host)
			hits = append(hits, hit{r, b})
		}
	}
	return hits
}

// key tells an old breach from a new one.
func (h hit) key() string { return fmt.Sprintf("%s %s %#v", h.ID, h.at, h.value) }

// introduced returns the hits that the old object did not have, whatever they were moved to in their list. One that
// stood once and stands twice is introduced once, and so is one that touches a further host.
func introduced(hits, old []hit) []hit {
	type set struct {
		host  policy.FencedHost
		count int
	}
	stood := map[string][]*set{} // of each key, one set of hosts for all that touch the same ones
	for _, h := range old {
		key := h.key()
		same := func(s *set) bool { return s.host.More == h.host.More && slices.Equal(s.host.Hosts(), h.host.Hosts()) }
		if i := slices.IndexFunc(stood[key], same); i >= 0 {
			stood[key][i].count++
			continue
		}
		stood[key] = append(stood[key], &set{h.host, 1})
	}
	return slices.DeleteFunc(slices.Clone(hits), func(h hit) bool {
		for _, s := range stood[h.key()] {
			if s.count > 0 && touches(s.host, h.host) {
				s.count--
				return true
			}
		}
		return false
	})
}

// touches reports whether what stands for some hosts touches every host that another one does. Of those that it does
// not name, their number counts.
func touches(before, now policy.FencedHost) bool {
	hosts := before.Hosts()
	unnamed := slices.DeleteFunc(now.Hosts(), func(host string) bool { return slices.Contains(hosts, host) })
	return len(unnamed)+now.More <= before.More
}

// findings writes about the first hits that are alike, and counts the others.
func findings(o *policy.Object, hits []hit) []Finding {
	type alike struct {
		rule        string
		unsure      bool
		locked      bool
		enforcement policy.Enforcement
		excuses     string
	}
	seen := map[alike]int{}
	last := map[alike]int{}
	var list []Finding
	for _, h := range hits {
		kind := alike{h.ID, h.unsure, h.host.Locked, h.host.Enforcement, fmt.Sprint(h.excuses)}
		if seen[kind]++; seen[kind] > maxFindings {
			continue
		}
		last[kind] = len(list)
		list = append(list, h.finding(o, h.breach))
	}
	for kind, i := range last {
		if list[i].More = seen[kind] - maxFindings; list[i].More <= 0 {
			list[i].More = 0
			continue
		}
		suffix := " [" + kind.rule + "]"
		list[i].Message = strings.TrimSuffix(list[i].Message, suffix) + "; and " + count(list[i].More) + " more" + suffix
	}
	return list
}

// count writes a number with a comma between thousands.
func count(n int) string {
	digits := strconv.Itoa(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
