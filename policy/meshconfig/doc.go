// Package meshconfig edits the text of Istio's mesh config for hold meshConfig, and says what it holds: the entries of
// serviceSettings that make hosts local to their clusters. The text stays as users wrote it but for these entries.
package meshconfig
