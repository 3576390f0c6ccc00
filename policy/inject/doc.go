// Package inject works out the edits that make the active holds true for an object. It never changes the
// object: an edit names a path and a value, and the webhook turns edits into a JSON Patch.
package inject
