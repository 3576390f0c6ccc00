// Package search looks for ways out of a fence that nobody has thought of, and for harmless objects that the guard
// refuses. It makes small worlds and objects that a user may write in them, lets meshfence decide on each, and asks
// istiod's own code what the proxies of a cluster get. README.md says how.
package search
