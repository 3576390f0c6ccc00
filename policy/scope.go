package policy

import (
	"iter"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/meshfence/meshfence/policy/hostname"
)

// scope is the part of a FenceConfig that decides fences.
type scope struct {
	fallback   Fence
	namespaces namespaceEntries
	services   map[hostname.Host]entry
	exempt     map[string]bool
}

// entry is what one input of the scope says.
type entry struct {
	fence  Fence
	locked bool
	by     string // the provenance
}

type namespaceEntry struct {
	entry
	// at is its place among the entries.
	at int
	// name is empty where the selector decides.
	name     string
	selector labels.Selector
}

// namespaceEntries are the entries for Namespaces, found by name so that the time it takes for one does not grow with
// the names of others.
type namespaceEntries struct {
	named     map[string][]namespaceEntry
	selecting []namespaceEntry
}

func (n *namespaceEntries) add(e namespaceEntry) {
	if e.name == "" {
		n.selecting = append(n.selecting, e)
		return
	}
	if n.named == nil {
		n.named = map[string][]namespaceEntry{}
	}
	n.named[e.name] = append(n.named[e.name], e)
}

// matching yields the entries that match a Namespace, in the order in which they are written.
func (n *namespaceEntries) matching(set namespaceLabels) iter.Seq[entry] {
	return func(yield func(entry) bool) {
		named := n.named[set.name]
		for _, e := range n.selecting {
			if !e.selector.Matches(set) {
				continue
			}
			for ; len(named) > 0 && named[0].at < e.at; named = named[1:] {
				if !yield(named[0].entry) {
					return
				}
			}
			if !yield(e.entry) {
				return
			}
		}
		for _, e := range named {
			if !yield(e.entry) {
				return
			}
		}
	}
}

// namespaceLabels are the labels of a Namespace with the one that the API server adds to each, which
// manifests leave out.
type namespaceLabels struct {
	name string
	set  map[string]string
}

// Lookup returns the value of a label.
func (l namespaceLabels) Lookup(key string) (string, bool) {
	if key == corev1.LabelMetadataName {
		return l.name, true
	}
	value, ok := l.set[key]
	return value, ok
}

// Has reports whether there is such a label.
func (l namespaceLabels) Has(key string) bool {
	_, ok := l.Lookup(key)
	return ok
}

// Get returns the value of a label, empty where there is none.
func (l namespaceLabels) Get(key string) string {
	value, _ := l.Lookup(key)
	return value
}

// asked is what the annotation of a Service or the label of a Namespace asks for: absent, unknown, or a
// fence plus one.
type asked int8

const (
	unknown asked = iota - 1
	absent
)

func ask(values map[string]string) asked {
	value, ok := values[FenceKey]
	if !ok {
		return absent
	}
	if fence, ok := ParseFence(value); ok {
		return asked(fence) + 1
	}
	return unknown
}

func (a asked) fence() (f Fence, ok bool) { return Fence(a - 1), a > absent }

// NamespaceScope is what decides the fences of one Namespace's Services, worked out once for all of them.
type NamespaceScope struct {
	config *Config
	name   string
	exempt bool
	base   entry // decides for a Service without an annotation and without an entry of its own
	floor  entry // the tightest locked entry that matches the Namespace
	ignore string
	// enforcement is the Namespace's own, or that of the config.
	enforcement Enforcement
}

// Namespace works out the scope of a Namespace from its labels.
func (c *Config) Namespace(name string, nsLabels map[string]string) NamespaceScope {
	s := NamespaceScope{config: c, name: name, exempt: c.scope.exempt[name], enforcement: c.Enforcement}
	if e, ok := ParseEnforcement(nsLabels[EnforcementLabel]); ok {
		s.enforcement = e
	}
	if s.exempt {
		s.base.by = "exempt namespace " + name
		return s
	}
	label := ask(nsLabels)
	fence, found := label.fence()
	if found {
		s.base = entry{fence: fence, by: "namespace " + name}
	} else if label == unknown {
		s.ignore = "label " + FenceKey + " of namespace " + name
	}
	for e := range c.scope.namespaces.matching(namespaceLabels{name, nsLabels}) {
		if !found {
			s.base, found = e, true
		}
		s.floor = tighter(s.floor, e)
	}
	if !found {
		s.base = entry{fence: c.scope.fallback, by: "config scope.default"}
	}
	return s
}

// tighter returns the floor that both a floor and a further entry make.
func tighter(floor, e entry) entry {
	if e.locked && (!floor.locked || e.fence > floor.fence) {
		return e
	}
	return floor
}

// Floor returns what locked entries demand of every Service of the Namespace, whatever it asks for itself: none
// where there is no such entry.
func (s NamespaceScope) Floor() Decision {
	return Decision{Fence: s.floor.fence, By: s.floor.by, Locked: s.floor.locked}
}

// Service decides the fence of one Service from its annotations (docs/design.md: the most
// specific input that is present decides, then locked entries are a floor).
func (s NamespaceScope) Service(name string, annotations map[string]string) Decision {
	return s.decide(name, ask(annotations))
}

func (s *NamespaceScope) decide(service string, annotation asked) Decision {
	switch {
	case s.exempt:
		return Decision{By: s.base.by, Exempt: true}
	case hostname.Host{Namespace: s.name, Name: service}.IsAPIServer():
		return Decision{By: "exempt Service " + s.name + "/" + service, Exempt: true}
	}
	ignored := s.ignore
	chosen, floor := s.base, s.floor
	if own, ok := s.config.scope.services[hostname.Host{Namespace: s.name, Name: service}]; ok {
		chosen, floor = own, tighter(floor, own)
	}
	if fence, ok := annotation.fence(); ok {
		chosen = entry{fence: fence, by: "service annotation"}
	} else if annotation == unknown {
		ignored = "annotation " + FenceKey
	}
	if floor.fence > chosen.fence {
		chosen = floor
	}
	return Decision{Fence: chosen.fence, By: chosen.by, Locked: floor.locked, Ignored: ignored}
}
