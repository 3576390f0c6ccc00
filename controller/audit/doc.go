// Package audit judges what is stored by the rules of admission, and tells of what it finds, of strict Services that nothing
// holds and of fences that an update took away.
package audit
