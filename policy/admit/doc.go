// Package admit takes one object in and gives one decision out: the edits that it needs, and what the guard finds in it. The
// webhook, check, render, the audit and whoever uses meshfence as a library call the same functions; nothing in it knows of
// HTTP.
package admit
