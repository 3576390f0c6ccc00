package policy

import (
	"k8s.io/apimachinery/pkg/labels"
)

// scope is the part of a FenceConfig that decides fences.
type scope struct {
	fallback   Fence
	namespaces []namespaceEntry
	services   map[Host]entry
	exempt     map[string]bool
}

// entry is one line of the scope.
type entry struct {
	fence  Fence
	locked bool
	by     string
}

type namespaceEntry struct {
	entry
	// name is empty where the selector decides.
	name     string
	selector labels.Selector
}

func (e namespaceEntry) matches(name string, set labels.Set) bool {
	if e.name != "" {
		return e.name == name
	}
	return e.selector.Matches(set)
}

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
	found := false
	if value, ok := nsLabels[FenceKey]; ok {
		if fence, known := ParseFence(value); known {
			s.base, found = entry{fence: fence, by: "namespace " + name}, true
		} else {
			s.ignore = "label " + FenceKey + " of namespace " + name
		}
	}
	for _, e := range c.scope.namespaces {
		if !e.matches(name, nsLabels) {
			continue
		}
		if !found {
			s.base, found = e.entry, true
		}
		if e.locked && (!s.floor.locked || e.fence > s.floor.fence) {
			s.floor = e.entry
		}
	}
	if !found {
		s.base = entry{fence: c.scope.fallback, by: "config scope.default"}
	}
	return s
}

// Service decides the fence of one Service from its annotations (section 3 of the design: the most
// specific input that is present decides, then locked entries are a floor).
func (s NamespaceScope) Service(name string, annotations map[string]string) Decision {
	value, ok := annotations[FenceKey]
	return s.decide(name, value, ok)
}

func (s NamespaceScope) decide(name, annotation string, annotated bool) Decision {
	if s.exempt {
		return Decision{By: "exempt namespace " + s.name, Exempt: true}
	}
	ignored := s.ignore
	chosen, floor := s.base, s.floor
	if own, ok := s.config.scope.services[Host{Namespace: s.name, Name: name}]; ok {
		chosen = own
		if own.locked && (!floor.locked || own.fence > floor.fence) {
			floor = own
		}
	}
	if annotated {
		if fence, known := ParseFence(annotation); known {
			chosen = entry{fence: fence, by: "service annotation"}
		} else {
			ignored = "annotation " + FenceKey
		}
	}
	if floor.locked && floor.fence > chosen.fence {
		chosen = floor
	}
	by := chosen.by
	if chosen.locked {
		by += " (locked)"
	}
	return Decision{Fence: chosen.fence, By: by, Locked: floor.locked, Ignored: ignored}
}
