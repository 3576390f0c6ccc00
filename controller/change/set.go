package change

import (
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
)

// Set is a set of Services that a change touches.
type Set struct {
	// All stands for every Service.
	All bool
	// Namespaces stand for every Service in them.
	Namespaces map[string]bool
	Services   map[hostname.Host]bool
}

// NewSet returns a set that is empty.
func NewSet() Set {
	return Set{Namespaces: map[string]bool{}, Services: map[hostname.Host]bool{}}
}

// Add adds what a change touches.
func (s *Set) Add(c policy.Change) {
	switch {
	case c.Namespace == "":
		s.All = true
	case c.Service == "":
		s.Namespaces[c.Namespace] = true
	default:
		s.Services[hostname.Host{Namespace: c.Namespace, Name: c.Service}] = true
	}
}

// Has reports whether a Service is in the set.
func (s *Set) Has(host hostname.Host) bool {
	return s.All || s.Namespaces[host.Namespace] || s.Services[host]
}
