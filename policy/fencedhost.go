package policy

import (
	"cmp"
	"slices"
	"strings"

	"github.com/meshfence/meshfence/policy/hostname"
)

// maxHosts is how many hosts a FencedHost names at most, itself included.
const maxHosts = 10

// FencedHost is one host and its decision. It may stand for several: then it is the tightest of them.
type FencedHost struct {
	// Host is the FQDN; for a wildcard it is the tightest of the Services that it covers, else the wildcard of
	// a Namespace that it covers, else the wildcard itself.
	Host string
	Decision
	// Enforcement is what becomes of findings on the host: the hardest of all that it stands for. It is empty where
	// nobody asked for it; then that of the object's Namespace counts.
	Enforcement Enforcement
	// Also lists further hosts that it stands for, the tighter ones first, and More says how many there are beyond
	// them. AtLeast says that there may be more than that: it was not looked at all of them.
	Also    []string
	More    int
	AtLeast bool
}

// Same reports whether both are the same host, whatever else they stand for.
func (f FencedHost) Same(other FencedHost) bool { return f.Host == other.Host }

// Hosts lists the host and the others that it names; none where it names none.
func (f FencedHost) Hosts() []string {
	if f.Host == "" {
		return nil
	}
	return append([]string{f.Host}, f.Also...)
}

// Together returns the tightest of the hosts, which stands for all of them.
func Together(hosts ...FencedHost) FencedHost {
	var best []FencedHost // the tightest ones, each once
	seen := make(map[string]bool, len(hosts))
	var enforcement Enforcement
	more, atLeast := 0, false
	for _, h := range hosts {
		atLeast = atLeast || h.AtLeast
		enforcement = enforcement.harder(h.Enforcement)
		more += h.More
		if i, _ := slices.BinarySearchFunc(best, h, FencedHost.compare); i < maxHosts && (i == len(best) || best[i].compare(h) != 0) {
			best = slices.Insert(best[:min(len(best), maxHosts-1)], i, h)
		}
		if h.Host != "" {
			seen[h.Host] = true
		}
		for _, name := range h.Also {
			seen[name] = true
		}
	}
	if len(best) == 0 {
		return FencedHost{}
	}
	whole := best[0]
	var names []string
	for _, h := range best {
		for _, name := range h.Hosts() {
			if len(names) < maxHosts && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	whole.Enforcement, whole.More, whole.AtLeast = enforcement, more+len(seen)-len(names), atLeast
	if whole.Also = nil; len(names) > 1 {
		whole.Also = slices.Clip(names[1:])
	}
	return whole
}

// compare orders locked hosts before others, then those whose findings are dealt with harder, then by name.
func (f FencedHost) compare(other FencedHost) int {
	return cmp.Or(compareBool(f.Locked, other.Locked), f.Enforcement.compare(other.Enforcement), strings.Compare(f.Host, other.Host))
}

// Touching returns the host as one that stands for others too, whichever is the tightest.
func (f FencedHost) Touching(others ...FencedHost) FencedHost {
	if len(others) == 0 {
		return f
	}
	whole := Together(append(others, f)...)
	names := slices.DeleteFunc(whole.Hosts(), func(name string) bool { return name == f.Host })
	kept := min(len(names), maxHosts-1)
	f.Also, f.More, f.AtLeast = names[:kept:kept], whole.More+len(names)-kept, whole.AtLeast
	f.Locked, f.Enforcement = whole.Locked, whole.Enforcement
	return f
}

// compareBool orders what is true first.
func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// compare orders enforcements from the hardest on; an absent one comes last.
func (e Enforcement) compare(other Enforcement) int {
	return -cmp.Compare(e.hardness(), other.hardness())
}

func (e Enforcement) hardness() int { return slices.Index([]Enforcement{Audit, Warn, Enforce}, e) }

func (e Enforcement) harder(other Enforcement) Enforcement {
	if other.hardness() > e.hardness() {
		return other
	}
	return e
}

// ranked is a host by what makes it tighter than others. A host named anyName stands for a Namespace.
type ranked struct {
	host        hostname.Host
	decision    Decision
	enforcement Enforcement
}

const anyName = "*"

// compare orders locked hosts before others, then those whose findings are dealt with harder, then Services before
// Namespaces, then by name.
func (r ranked) compare(other ranked) int {
	return cmp.Or(compareBool(r.decision.Locked, other.decision.Locked), r.enforcement.compare(other.enforcement),
		compareBool(r.host.Name != anyName, other.host.Name != anyName), r.host.Compare(other.host))
}

// tightest keeps the tightest of the hosts that are offered, in whatever order.
type tightest struct {
	list    []ranked // the tightest first
	count   int
	hardest Enforcement
	// cut reports whether hosts were left out without a look at them.
	cut bool
}

// offer counts a host, and reports whether it is kept for now.
func (t *tightest) offer(r ranked) bool {
	t.count++
	t.hardest = t.hardest.harder(r.enforcement)
	i, _ := slices.BinarySearchFunc(t.list, r, ranked.compare)
	if i == maxHosts {
		return false
	}
	t.list = slices.Insert(t.list[:min(len(t.list), maxHosts-1)], i, r)
	return true
}

// fencedHost returns the tightest host, which stands for all that were offered; there must be one.
func (t *tightest) fencedHost(domain string) FencedHost {
	f := FencedHost{Host: t.list[0].host.FQDN(domain), Decision: t.list[0].decision, Enforcement: t.hardest, More: t.count - len(t.list), AtLeast: t.cut}
	for _, r := range t.list[1:] {
		f.Also = append(f.Also, r.host.FQDN(domain))
	}
	return f
}

// enforce returns what becomes of findings on a host of the Namespace. A locked host is not for the Namespace to
// soften: for it the config decides.
func (s *NamespaceScope) enforce(d Decision) Enforcement {
	if d.Locked {
		return s.config.Enforcement
	}
	return s.enforcement
}

// ranked decides a Service and ranks it.
func (s *NamespaceScope) ranked(service string, annotation asked) ranked {
	d := s.decide(service, annotation)
	return ranked{hostname.Host{Namespace: s.name, Name: service}, d, s.enforce(d)}
}
