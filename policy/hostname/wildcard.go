package hostname

import "strings"

// Within reports whether a host or wildcard is covered by the wildcard of that suffix.
func Within(host, suffix string) bool {
	return strings.HasSuffix(strings.TrimPrefix(host, "*"), suffix)
}

// Covers reports whether a host is a wildcard that another one is covered by.
func Covers(wildcard, host string) bool {
	suffix, ok := Wildcard(wildcard)
	return ok && Within(host, suffix)
}

// Wildcard returns the suffix that a wildcard host stands for; ok is false for an exact host.
func Wildcard(host string) (suffix string, ok bool) { return strings.CutPrefix(host, "*") }
