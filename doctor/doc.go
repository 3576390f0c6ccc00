// Package doctor examines an installation: Observer looks at a cluster and writes nothing, and the checks, which are pure,
// judge what it saw.
package doctor
