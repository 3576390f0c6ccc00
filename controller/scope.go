package controller

import (
	"maps"
	"strings"
	"sync"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
)

// scope is a set of Services by which objects are chosen.
type scope struct {
	all        bool
	namespaces map[string]bool
	services   map[hostname.Host]bool
}

func newScope() scope {
	return scope{namespaces: map[string]bool{}, services: map[hostname.Host]bool{}}
}

func (s *scope) add(c policy.Change) {
	switch {
	case c.Namespace == "":
		s.all = true
	case c.Service == "":
		s.namespaces[c.Namespace] = true
	default:
		s.services[hostname.Host{Namespace: c.Namespace, Name: c.Service}] = true
	}
}

func (s *scope) merge(other scope) {
	s.all = s.all || other.all
	maps.Copy(s.namespaces, other.namespaces)
	maps.Copy(s.services, other.services)
}

func (s *scope) empty() bool { return !s.all && len(s.namespaces)+len(s.services) == 0 }

// touches says whether a host stands for a Service of the scope. A wildcard may always do so.
func (s *scope) touches(fqdn, domain string) bool {
	if s.all || strings.HasPrefix(fqdn, "*") {
		return true
	}
	host, ok := hostname.Parse(fqdn, domain)
	return ok && (s.namespaces[host.Namespace] || s.services[host])
}

// inbox collects changes until the backfill takes them.
type inbox struct {
	mu    sync.Mutex
	scope scope
	// full holds a token while the scope is not empty.
	full chan struct{}
}

func newInbox() *inbox { return &inbox{scope: newScope(), full: make(chan struct{}, 1)} }

func (i *inbox) put(c policy.Change) {
	i.mu.Lock()
	i.scope.add(c)
	i.mu.Unlock()
	select {
	case i.full <- struct{}{}:
	default:
	}
}

func (i *inbox) take() scope {
	i.mu.Lock()
	defer i.mu.Unlock()
	taken := i.scope
	i.scope = newScope()
	return taken
}
