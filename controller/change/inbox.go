package change

import (
	"sync"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// Inbox collects changes until somebody takes them. It is safe for use by many at once.
type Inbox struct {
	// Full is set while the inbox is not empty.
	Full Signal

	mu      sync.Mutex
	set     Set
	objects map[object.Key]bool
}

// NewInbox returns an inbox that is empty.
func NewInbox() *Inbox {
	return &Inbox{Full: NewSignal(), set: NewSet(), objects: map[object.Key]bool{}}
}

// Put adds a change.
func (i *Inbox) Put(c policy.Change) {
	i.mu.Lock()
	i.set.Add(c)
	i.mu.Unlock()
	i.Full.Set()
}

// PutObject adds an object that has changed.
func (i *Inbox) PutObject(key object.Key) {
	i.mu.Lock()
	i.objects[key] = true
	i.mu.Unlock()
	i.Full.Set()
}

// Take empties the inbox.
func (i *Inbox) Take() (Set, map[object.Key]bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	set, objects := i.set, i.objects
	i.set, i.objects = NewSet(), map[object.Key]bool{}
	return set, objects
}
