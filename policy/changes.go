package policy

import (
	"slices"
	"sync"
)

// Change says whose decisions may be others now: those of one Service, of every Service of a Namespace where
// Service is empty, or of every Service where both are. A Service that came or went is a change as well.
type Change struct {
	Namespace, Service string
}

// subscribers are those who want to hear of changes. The list is replaced, never written to.
type subscribers struct {
	mu   sync.Mutex
	list []*func(Change)
}

// Subscribe calls f after each change, in the goroutine that made it. Calls may overlap and come in another
// order than the changes, so that f must look at the index anew; it must be quick, and may use the index.
// The function returned ends the subscription; a call that has begun may end after it.
func (x *Index) Subscribe(f func(Change)) (cancel func()) {
	s := &x.subscribers
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(slices.Clone(s.list), &f)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.list = slices.DeleteFunc(slices.Clone(s.list), func(other *func(Change)) bool { return other == &f })
	}
}

// notify tells the subscribers of a change, where there is one. The lock of the index must not be held.
func (s *subscribers) notify(changed bool, c Change) {
	if !changed {
		return
	}
	s.mu.Lock()
	list := s.list
	s.mu.Unlock()
	for _, f := range list {
		(*f)(c)
	}
}
