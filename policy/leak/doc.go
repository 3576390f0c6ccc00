// Package leak finds what would let the traffic of a strict Service out of its cluster in spite of the
// active holds. Each rule is in a file of its own, named like its id; the rows in brackets are those of
// docs/catalogue.md.
package leak
