// Package meshfence holds what files of the repository say, so that no other place repeats it: go.mod, and the pages of
// the rules.
package meshfence
