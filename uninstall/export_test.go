package uninstall

import "github.com/meshfence/meshfence/policy/inject"

// Edits returns what is edited in the object of a change.
func (c Change) Edits() []inject.Edit { return c.edits }
