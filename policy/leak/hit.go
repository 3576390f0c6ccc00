package leak

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// maxFindings is how many findings that are alike one object has at most: of one rule, and dealt with in the same way.
// How many are left out is counted, so that what becomes of the object is the same.
const maxFindings = 10

// hit is a breach of a rule, before anything is written about it: there may be as many as an object has items.
type hit struct {
	*guarded
	breach
}

// hits lists what the rules find in an object.
func (g *Guard) hits(w Write, view *policy.View) []hit {
	var hits []hit
	g.each(w, view, func(h hit) { hits = append(hits, h) })
	return hits
}

// each applies the rules to an object.
func (g *Guard) each(w Write, view *policy.View, found func(hit)) {
	w.gaps = &foundGaps{}
	config := view.Config()
	routing := config.Active().Routing()
	led := leaders{view: view, namespace: w.Metadata.Namespace}
	rules := g.byKind[w.Kind]
	for i := range rules {
		r := &rules[i]
		if w.Deleted && !r.Deletions || r.stops.Intersects(routing) && !config.Holds.Has(r.Guards) {
			continue
		}
		for _, b := range r.check(w, view) {
			b.host = led.add(b.host)
			found(hit{r, b})
		}
	}
}

// about reports whether a hit touches a host, or none in particular.
func (h hit) about(fqdn string) bool {
	hosts := h.host.Hosts()
	return len(hosts) == 0 || h.host.More > 0 || slices.Contains(hosts, fqdn)
}

// key tells an old breach from a new one.
func (h hit) key() string { return fmt.Sprintf("%s %s %#v", h.ID, h.at, h.value) }

// introduced returns the hits that the old object did not have.
func introduced(hits, old []hit) []hit {
	before := counted{}
	for _, h := range old {
		before.add(h)
	}
	return slices.DeleteFunc(slices.Clone(hits), before.take)
}

// counted counts the hits of an old object, by their keys and then by the hosts that they touch.
type counted map[string][]*countedHosts

type countedHosts struct {
	policy.FencedHost
	count int
}

func (s counted) add(h hit) {
	key := h.key()
	same := func(s *countedHosts) bool {
		return s.More == h.host.More && s.Same(h.host) && slices.Equal(s.Also, h.host.Also)
	}
	if i := slices.IndexFunc(s[key], same); i >= 0 {
		s[key][i].count++
		return
	}
	s[key] = append(s[key], &countedHosts{h.host, 1})
}

// take reports whether the old object had a hit, whatever that has moved to in its list, and counts it off: one that
// was there once and is there twice is introduced once, and so is one that touches a further host.
func (s counted) take(h hit) bool {
	for _, hosts := range s[h.key()] {
		if hosts.count > 0 && touches(hosts.FencedHost, h.host) {
			hosts.count--
			return true
		}
	}
	return false
}

// touches reports whether what stands for some hosts touches every host that another one does. Of those that it does
// not name, their number counts.
func touches(before, now policy.FencedHost) bool {
	hosts := before.Hosts()
	unnamed := slices.DeleteFunc(now.Hosts(), func(host string) bool { return slices.Contains(hosts, host) })
	return len(unnamed)+now.More <= before.More
}

// findings writes about hits.
func findings(o *object.Object, hits []hit) []Finding {
	c := collector{object: o}
	for _, h := range hits {
		c.add(h)
	}
	return c.findings()
}

// alike are the hits of one rule that are dealt with in one way.
type alike struct {
	rule           string
	unsure, locked bool
	enforcement    policy.Enforcement
	excuses        string
}

// collector writes about the first hits that are alike, and counts the others.
type collector struct {
	object *object.Object
	list   []Finding
	seen   map[alike]int
	last   map[alike]int
}

func (c *collector) add(h hit) {
	kind := alike{rule: h.ID, unsure: h.unsure, locked: h.host.Locked, enforcement: h.host.Enforcement}
	if len(h.excuses) > 0 {
		kind.excuses = fmt.Sprint(h.excuses)
	}
	if c.seen == nil {
		c.seen, c.last = map[alike]int{}, map[alike]int{}
	}
	if c.seen[kind]++; c.seen[kind] <= maxFindings {
		c.last[kind] = len(c.list)
		c.list = append(c.list, h.finding(c.object, h.breach))
	}
}

// findings returns what was written, and says after the last of those that are alike how many more there are.
func (c *collector) findings() []Finding {
	for kind, i := range c.last {
		more := c.seen[kind] - maxFindings
		if more <= 0 {
			continue
		}
		c.list[i].More += more
	}
	return c.list
}

// count writes a number with a comma between thousands.
func count(n int) string {
	digits := strconv.Itoa(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
